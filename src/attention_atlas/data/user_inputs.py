"""Inputs that a user gives by hand: sentences, files, folders, or lines of standard input."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_atlas.data.audio.headers import is_audio_name
from attention_atlas.data.splits import stable_hash
from attention_atlas.data.text.tables import read_table, read_text
from attention_atlas.errors import InputError

TABLES = (".csv", ".tsv")
IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Given:
    """One input.

    Attributes:
        name: The id of the sample: of a text from its content, of a file its path.
        content: The text, or where the file lies.
        label: Name of the class, where the input tells it.
    """

    name: str
    content: str | Path
    label: str | None = None


def is_image_name(path: Path) -> bool:
    """Whether a file is taken for an image by its name."""
    return path.suffix.lower() in IMAGES and not path.name.startswith(".")


def _is_text_name(path: Path) -> bool:
    return path.suffix.lower() in (*TABLES, ".txt") and not path.name.startswith(".")


IS_ONE = {"image": is_image_name, "audio": is_audio_name, "text": _is_text_name}
"""What tells a file of a modality by its name."""


def modality_of_data(path: Path) -> str:
    """What a file or most files of a folder are: `text`, `image` or `audio`.

    Of as many files, texts count last: they often tell of the others.

    Raises:
        InputError: It does not exist, or holds nothing of these.
    """
    if not path.exists():
        raise InputError(f"--data {path} does not exist; give a CSV file, or a folder of files.")
    files = [path] if path.is_file() else _files_below(path)
    counts = {kind: sum(map(is_one, files)) for kind, is_one in IS_ONE.items()}
    if any(counts.values()):
        return max(counts, key=counts.__getitem__)
    raise InputError(f"--data {path} holds no text (.csv, .tsv, .txt), image or audio file.")


def left_out(argument: str, modality: str) -> int:
    """How many files of a folder are not of the modality; hidden ones are not counted."""
    path = Path(argument)
    if not argument.strip() or not _is_path(path) or not path.is_dir():
        return 0
    others = [file for file in _files_below(path) if not IS_ONE[modality](file)]
    return sum(
        not any(part.startswith(".") for part in file.relative_to(path).parts) for file in others
    )


def _files_below(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


def gather(
    modality: str,
    arguments: Sequence[str],
    read_lines: Callable[[], list[str]],
    text_column: str = "text",
    label_column: str = "label",
    quoted: bool = True,
) -> list[Given]:
    """The inputs that some arguments stand for.

    An argument is a text, or the name of a file or folder; `-` stands for the lines of standard
    input, each a text or the name of a file. A .txt file holds a text per line, a CSV file one per
    row.

    Args:
        modality: `text`, `image` or `audio`.
        arguments: As typed.
        read_lines: Reads standard input.
        text_column: Of CSV files.
        label_column: Of CSV files; they need not have it.
        quoted: Whether quotation marks in CSV files enclose fields.

    Raises:
        InputError: A file cannot be used, or there is no input.
    """
    given: list[Given] = []
    for argument in arguments:
        if modality == "text" and argument == "-":
            given += [_text(line) for line in read_lines() if line.strip()]
        elif modality == "text":
            given += _texts(argument, text_column, label_column, quoted)
        else:
            names = read_lines() if argument == "-" else [argument]
            given += [each for name in names if name for each in _files(Path(name), modality)]
    if not given:
        raise InputError("There is no input: give a sentence, a file, a folder, or - for lines.")
    return _numbered(given)


def _texts(argument: str, text_column: str, label_column: str, quoted: bool) -> list[Given]:
    path = Path(argument)
    if not argument.strip():
        return []
    if not _is_path(path):
        is_name = path.suffix.lower() in (*TABLES, ".txt") and not argument.split()[1:]
        if is_name or argument.startswith(("./", "../")):
            raise InputError(f"{argument} does not exist; give a text, or a file that is there.")
        return [_text(argument)]
    if path.is_dir():
        files = sorted(file for file in _files_below(path) if _is_text_name(file))
        if not files:
            raise InputError(f"{path} holds no .txt, .csv or .tsv file.")
        return [
            given
            for file in files
            for given in _texts(str(file), text_column, label_column, quoted)
        ]
    if path.suffix.lower() not in TABLES:
        return [_text(line) for line in read_text(path).splitlines() if line.strip()]
    table = read_table(path, quoted)
    texts = table.column(text_column)
    labels: Sequence[str | None] = [None] * len(texts)
    if label_column in table.columns:
        labels = [name.strip() for name in table.column(label_column)]
    return [_text(text, label) for text, label in zip(texts, labels, strict=True)]


def _is_path(path: Path) -> bool:
    """Whether there is such a file or folder; a long sentence is none, and no error."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _text(text: str, label: str | None = None) -> Given:
    if not _is_utf8(text):
        raise InputError(f"An input is not UTF-8: {text[:60]!a}.")
    return Given(f"text-{stable_hash(text):016x}", text, label)


def _is_utf8(text: str) -> bool:
    """Whether it is; Python hides other bytes in what it is given."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _files(path: Path, modality: str) -> list[Given]:
    if path.is_dir():
        found = sorted(file for file in _files_below(path) if IS_ONE[modality](file))
        if not found:
            raise InputError(f"{path} holds no {modality} files.")
        _check_names(found)
        return [Given(each.relative_to(path).as_posix(), each, each.parent.name) for each in found]
    if not path.is_file():
        raise InputError(f"{path} does not exist; give {modality} files or folders of them.")
    _check_names([path])
    return [Given(path.as_posix(), path)]


def _check_names(paths: Sequence[Path]) -> None:
    for path in paths:
        if not _is_utf8(str(path)):
            raise InputError(f"The file name {str(path)!a} is not UTF-8; rename it.")


def _numbered(given: list[Given]) -> list[Given]:
    """The same with a number behind a name that stood before."""
    seen: Counter[str] = Counter()
    numbered = []
    for each in given:
        seen[each.name] += 1
        name = each.name if seen[each.name] == 1 else f"{each.name}-{seen[each.name]}"
        numbered.append(Given(name, each.content, each.label))
    return numbered


def labels_of(given: Sequence[Given], classes: Sequence[str]) -> list[int]:
    """The class of each input as an index; -1 where none is told, or one that there is not."""
    places = {name: index for index, name in enumerate(classes)}
    return [-1 if each.label is None else places.get(each.label, -1) for each in given]
