"""The download of Speech Commands v2 (Warden 2018)."""

import hashlib
import shutil
import socket
from pathlib import Path

from torch.hub import download_url_to_file

from attention_atlas.data.archives import unpack_tar
from attention_atlas.data.audio.speech_commands import FOLDER
from attention_atlas.errors import InputError

URL = "http://download.tensorflow.org/data/"
ARCHIVE = "speech_commands_v0.02.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"


def download(path: Path) -> Path:
    """Download the archive unless it is in `path` already, verify it and unpack it.

    Returns:
        The folder with the words.

    Raises:
        InputError: The archive cannot be downloaded, or is not the original one.
    """
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
