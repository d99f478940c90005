"""Which files are taken for text, images or audio, and the split and class of their folders."""

from dataclasses import dataclass
from pathlib import Path

from attention_atlas.errors import InputError

TABLES = frozenset({".csv", ".tsv"})

AUDIO = frozenset({".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au", ".caf"})
"""Audio formats that libsndfile reads, which every installation has."""

TORCHCODEC_AUDIO = frozenset({".m4a", ".aac", ".mp4", ".opus", ".wma", ".webm", ".amr"})
"""Audio formats that torchcodec reads, which the extra `audio` installs."""

SUFFIXES = {
    "image": frozenset(
        {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
    ),
    "audio": AUDIO | TORCHCODEC_AUDIO,
    "text": TABLES | {".txt"},
}
"""Suffixes by modality. A tie in `modality_of_data` goes to the first: texts often describe the
other files."""

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True)
class LabelledFile:
    """A file in the folder of its class.

    Attributes:
        path: The file.
        sample_id: Its path relative to the whole folder, with forward slashes.
        label: Name of its class.
        split: `train`, `val` or `test`; None in a folder without splits.
    """

    path: Path
    sample_id: str
    label: str
    split: str | None


def has_modality(path: Path, modality: str) -> bool:
    """Whether a file that is not hidden has a suffix of the modality."""
    return path.suffix.lower() in SUFFIXES[modality] and not path.name.startswith(".")


def files_below(folder: Path, modality: str | None = None) -> list[Path]:
    """List the files in a folder and its subfolders, sorted; all, or those of a modality."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and (modality is None or has_modality(path, modality))
    )


def utf8_name(path: Path, folder: Path | None = None) -> str:
    """Return the name of a file, relative to a folder if there is one, with forward slashes.

    Raises:
        InputError: It is not UTF-8.
    """
    name = (path.relative_to(folder) if folder else path).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"The file name {name!a} is not UTF-8; rename it.") from None
    return name


def modality_of_data(path: Path) -> str:
    """Return the modality of a file, or of most files of a folder: `text`, `image` or `audio`.

    Raises:
        InputError: The path does not exist, or no file has a known suffix.
    """
    if not path.exists():
        raise InputError(f"--data {path} does not exist; give a CSV file, or a folder of files.")
    files = [path] if path.is_file() else files_below(path)
    counts = {
        modality: sum(has_modality(file, modality) for file in files) for modality in SUFFIXES
    }
    if any(counts.values()):
        return max(counts, key=counts.__getitem__)
    raise InputError(f"--data {path} holds no text (.csv, .tsv, .txt), image or audio file.")
