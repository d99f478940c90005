"""Which files are taken for text, images or audio, and how they are named."""

from pathlib import Path

from attention_atlas.errors import InputError

TABLES = frozenset({".csv", ".tsv"})

AUDIO = frozenset({".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au", ".caf"})
"""Audio formats that libsndfile reads, which every installation has."""

TORCHCODEC_AUDIO = frozenset({".m4a", ".aac", ".mp4", ".opus", ".wma", ".webm", ".amr"})
"""Audio formats that torchcodec reads, which the extra `audio` installs."""

SUFFIXES = {
    "image": frozenset(
        {
            *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".dib"),
            *(".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k"),
            *(".tga", ".ico", ".icns", ".pcx", ".dds", ".sgi", ".rgb", ".qoi", ".psd", ".xbm"),
        }
    ),
    "audio": AUDIO | TORCHCODEC_AUDIO,
    "text": TABLES | {".txt"},
}
"""Suffixes by modality. A tie in `modality_of_data` goes to the first: texts often describe the
other files."""


def is_table(path: Path) -> bool:
    """Whether a file is named as a table, compressed or not."""
    return path.name.lower().removesuffix(".gz").endswith(tuple(TABLES))


def has_modality(path: Path, modality: str) -> bool:
    """Whether a file that is not hidden has a suffix of the modality."""
    is_known = path.suffix.lower() in SUFFIXES[modality] or (modality == "text" and is_table(path))
    return is_known and not path.name.startswith(".")


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
