"""The files of Speech Commands v2 (Warden 2018), and its official splits. Needs no torch."""

from pathlib import Path

from attention_atlas.errors import InputError

FOLDER = "SpeechCommands/speech_commands_v0.02"
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The command words, in the order of Warden 2018."""
BACKGROUND = "_background_noise_"

_LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}


def find_root(path: Path) -> Path | None:
    """Find the folder with the words, at `path` or below it; None if it is not there.

    Raises:
        InputError: `path` is a file.
    """
    if path.is_file():
        raise InputError(f"data.path={path} is a file; give the folder for the data set.")
    for root in (path / FOLDER, path / "speech_commands_v0.02", path):
        if (root / _LISTS["test"]).is_file() or (root / WORDS[0]).is_dir():
            return root
    return None


def official_splits(root: Path) -> dict[str, list[tuple[str, str]]]:
    """List the clips of each split: the file, relative to the root, and its word.

    Raises:
        InputError: A command word, a list, or a listed file is missing.
    """
    words = sorted(
        folder.name
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(("_", "."))
    )
    for word in WORDS:
        if word not in words:
            raise InputError(f"{root} has no folder {word}; unpack the whole data set there.")
    split_of = {file: name for name in _LISTS for file in _read_list(root, _LISTS[name])}
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    for word in words:
        for path in sorted((root / word).glob("*.wav")):
            file = f"{word}/{path.name}"
            splits[split_of.pop(file, "train")].append((file, word))
    for file, name in split_of.items():
        if (root / file).parent.is_dir():
            raise InputError(f"{root / file} is listed in {_LISTS[name]} but does not exist.")
    for name, part in splits.items():
        if not part:
            raise InputError(f"{root} has no clip for {name}; unpack the whole data set there.")
    return splits


def _read_list(root: Path, name: str) -> list[str]:
    try:
        return (root / name).read_text(encoding="utf-8").split()
    except OSError as error:
        raise InputError(
            f"{root / name} is missing; it comes with the data set and lists an official split."
        ) from error
