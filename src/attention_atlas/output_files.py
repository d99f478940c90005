"""Write a file completely or not at all; an existing file stays until it is replaced."""

import glob
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attention_atlas.errors import InputError

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """Check that a file can be written, before work is done for it.

    Raises:
        InputError: If the path has none of the suffixes, is a folder, or lies in a folder that is
            not writable.
    """
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        endings = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{str(path)!r} has the wrong ending: end it in {endings}.")
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder: name a file in it.")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Check that a file or folder of this name can be created.

    Raises:
        InputError: If the path lies in a folder that is not writable.
    """
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{path} cannot be written: {str(parent)!r} is not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: {str(parent)!r} is not writable.")


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield an empty file to write to, which replaces `path` if the block raises no error.

    It lies beside `path`, has the same suffix, and is on the disk before it is moved. No link is
    followed: neither one that is called as the file, nor one that is called as the draft. Missing
    folders are created, and drafts that a killed process has left are removed.

    Raises:
        InputError: If it cannot be written, such as on a full disk.
    """
    unfinished = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_old_drafts(path)
        unfinished = _new_draft(path)
        yield unfinished
        _to_disk(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be written: {reason}.") from error
    finally:
        if unfinished is not None:
            with suppress(OSError):  # moved already
                unfinished.unlink()


DRAFT_SECONDS = 3600
"""Age of a draft that nobody writes any more."""


def _new_draft(path: Path) -> Path:
    """Create a file of a new name, which no other process has, with the usual permissions."""
    handle, name = tempfile.mkstemp(".draft" + path.suffix, f".{path.stem}.", path.parent)
    os.close(handle)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)
    return Path(name)


def _remove_old_drafts(path: Path) -> None:
    for left in path.parent.glob(glob.escape(f".{path.stem}.") + f"*.draft{path.suffix}"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > DRAFT_SECONDS:
                left.unlink()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON.

    Raises:
        InputError: If it cannot be written.
    """
    with draft(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
