"""The files of Speech Commands v2 (Warden 2018): download, and official splits. Needs no torch."""

import hashlib
import shutil
import socket
from pathlib import Path

from attention_atlas.data.archives import unpack_tar
from attention_atlas.errors import InputError

URL = "http://download.tensorflow.org/data/"
ARCHIVE = "speech_commands_v0.02.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
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


def download(path: Path) -> Path:
    """Download the archive unless it is in `path` already, verify it and unpack it.

    Returns:
        The folder with the words.

    Raises:
        InputError: The archive cannot be downloaded, or is not the original one.
    """
    from torch.hub import download_url_to_file

    created, archive = not path.exists(), path / ARCHIVE
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not archive.is_file():
            download_url_to_file(URL + ARCHIVE, str(archive), hash_prefix=SHA256, progress=False)
    except (OSError, RuntimeError) as error:
        if created:
            shutil.rmtree(path, ignore_errors=True)
        raise InputError(
            f"data.path={path} holds no Speech Commands, and they could not be downloaded "
            f"({error}). Unpack {ARCHIVE} into {path / FOLDER}."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise InputError(f"{archive} is not the original archive; remove it.")
    unpack_tar(archive, path / FOLDER)
    return path / FOLDER


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
