"""Write a file or folder completely or not at all; an existing file stays until it is replaced."""

import errno
import fcntl
import glob
import json
import os
import re
import shutil
import tempfile
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
    with writing(path), new_draft(path) as unfinished:
        yield unfinished
        _to_disk(unfinished)
        os.replace(unfinished, path)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_DISK = rf"^\d+ requested and \d+ written$|\(os error {errno.ENOSPC}\)"
"""How errors of numpy and of libraries in Rust, which have no number, describe a full disk."""


def full_disk(error: BaseException | None) -> OSError | None:
    """Return the error of a full disk that an error comes from; None for any other error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        if re.search(FULL_DISK, str(error)):
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise the errors of writing a file or folder as an `InputError` that names it."""
    try:
        yield
    except Exception as error:
        cause = full_disk(error) or error
        if not isinstance(cause, OSError):
            raise
        reason = cause.strerror or str(cause)
        raise InputError(f"{path} cannot be written: {reason}.") from error


@contextmanager
def new_draft(path: Path, is_folder: bool = False) -> Iterator[Path]:
    """Yield a new empty file or folder beside a path; it is removed unless the block moves it.

    It is locked meanwhile: drafts without a lock were left by a killed process, and are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    handle, unfinished = _create(path, is_folder)
    try:
        yield unfinished
    finally:
        _remove(unfinished)
        os.close(handle)


def _create(path: Path, is_folder: bool) -> tuple[int, Path]:
    """Create and lock a draft of a new name, with the usual permissions."""
    make = tempfile.mkdtemp if is_folder else _make_file
    mask = os.umask(0)
    os.umask(mask)
    while True:
        name = make(f".draft{path.suffix}", f".{path.stem}.", path.parent)
        try:
            handle = os.open(name, os.O_RDONLY)
        except FileNotFoundError:  # another process took it for abandoned
            continue
        with suppress(OSError):  # some network disks have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.lexists(name):
            os.chmod(name, (0o777 if is_folder else 0o666) & ~mask)
            return handle, Path(name)
        os.close(handle)


def _make_file(suffix: str, prefix: str, folder: Path) -> str:
    handle, name = tempfile.mkstemp(suffix, prefix, folder)
    os.close(handle)
    return name


def _remove_abandoned(path: Path) -> None:
    for left in path.parent.glob(glob.escape(f".{path.stem}.") + f"*.draft{path.suffix}"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left)
            finally:
                os.close(handle)


def _remove(path: Path) -> None:
    """Remove a draft; there is none if it was moved."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


MIN_ROOM = 2**16
"""Bytes that the first files of a run fit into, such as its config."""


def check_room(folder: Path) -> None:
    """Check that there is room for a few small files, as Hydra's error of a full disk is long.

    Raises:
        InputError: There is not.
    """
    with writing(folder), new_draft(folder / "room") as trial:
        trial.write_bytes(bytes(MIN_ROOM))
        _to_disk(trial)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON.

    Raises:
        InputError: If it cannot be written.
    """
    with draft(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
