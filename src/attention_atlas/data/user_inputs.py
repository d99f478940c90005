"""Inputs that a user types or names: sentences, files, folders, or lines of standard input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attention_atlas.data.file_types import SUFFIXES, is_table, utf8_name
from attention_atlas.data.listing import list_inputs
from attention_atlas.data.splits import number_repeats, stable_hash
from attention_atlas.data.tables import read_table
from attention_atlas.data.text_files import check_length, clean_text, physical_lines, read_text
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class UserInput:
    """One input.

    Attributes:
        name: Sample id: a digest of the content of a text, or the path of a file.
        content: The text, or the path of the file.
        label: Name of the class, or None if unknown.
    """

    name: str
    content: str | Path
    label: str | None = None


def collect_inputs(
    modality: str,
    arguments: Sequence[str],
    read_lines: Callable[[], list[str]],
    text_column: str = "text",
    label_column: str = "label",
    quoted: bool = True,
) -> list[UserInput]:
    """Collect the inputs that command-line arguments stand for.

    An argument is a text, or the name of a file or folder; `-` stands for the lines of standard
    input, each a text or the name of a file. A .txt file holds a text per line, a CSV file one per
    row, read by `text_column`, `label_column` (which may be missing) and `quoted` of `TextOptions`.

    Args:
        modality: `text`, `image` or `audio`.
        arguments: As typed.
        read_lines: Reads standard input.

    Raises:
        InputError: A file cannot be used, or there is no input.
    """
    inputs: list[UserInput] = []
    for argument in arguments:
        if modality == "text" and argument == "-":
            inputs += [_text(line) for line in read_lines() if line.strip()]
        elif modality == "text":
            inputs += _texts(argument, text_column, label_column, quoted)
        else:
            names = read_lines() if argument == "-" else [argument]
            inputs += [each for name in names if name for each in _files(Path(name), modality)]
    if not inputs:
        raise InputError("There is no input: give a sentence, a file, a folder, or - for lines.")
    names = number_repeats([each.name for each in inputs])
    return [replace(each, name=name) for each, name in zip(inputs, names, strict=True)]


def skipped_files(argument: str, modality: str) -> list[str]:
    """Return the names of the files that `collect_inputs` does not read in a folder."""
    path = Path(argument)
    if not argument.strip() or not _exists(path) or not path.is_dir():
        return []
    return list_inputs(path, modality).not_read


def label_indexes(inputs: Sequence[UserInput], classes: Sequence[str]) -> list[int]:
    """Return the class index of each input, or -1 for an unknown class."""
    indexes = {name: index for index, name in enumerate(classes)}
    return [-1 if each.label is None else indexes.get(each.label, -1) for each in inputs]


def _texts(argument: str, text_column: str, label_column: str, quoted: bool) -> list[UserInput]:
    path = Path(argument)
    if not argument.strip():
        return []
    if not _exists(path):
        is_name = path.suffix.lower() in SUFFIXES["text"] and not argument.split()[1:]
        if is_name or argument.startswith(("./", "../")):
            raise InputError(f"{argument} does not exist; give a text, or a file that is there.")
        return [_text(argument)]
    if path.is_dir():
        files = [file.path for file in list_inputs(path, "text").files]
        return [
            each for file in files for each in _texts(str(file), text_column, label_column, quoted)
        ]
    if not is_table(path):
        lines = [line.rstrip("\n") for line in physical_lines(read_text(path))]
        return [_text(line) for line in lines if line.strip()]
    table = read_table(path, quoted)
    texts = table.column(text_column)
    labels: Sequence[str | None] = [None] * len(texts)
    if label_column in table.columns:
        labels = [name.strip() for name in table.column(label_column)]
    return [_text(text, label) for text, label in zip(texts, labels, strict=True)]


def _exists(path: Path) -> bool:
    """Whether a file or folder exists; False, not an error, for a sentence too long for a path."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _text(text: str, label: str | None = None) -> UserInput:
    try:
        text.encode()
    except UnicodeEncodeError:  # surrogates, which Python puts in the place of undecodable bytes
        raise InputError(f"An input is not UTF-8: {text[:60]!a}.") from None
    check_length(text, "An input")
    text = clean_text(text)
    return UserInput(f"text-{stable_hash(text):016x}", text, label)


def _files(path: Path, modality: str) -> list[UserInput]:
    if path.is_dir():
        found = list_inputs(path, modality).files
        return [UserInput(each.sample_id, each.path, each.label) for each in found]
    if not path.is_file():
        raise InputError(f"{path} does not exist; give {modality} files or folders of them.")
    return [UserInput(utf8_name(path), path)]
