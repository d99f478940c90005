"""Write a file whole or not at all; what stood in its place stays until the new one is there."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attention_atlas.errors import InputError


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """Find out early that a file cannot be written, before work is done for it.

    Raises:
        InputError: If the path ends otherwise than in one of the suffixes, is a folder, or lies in
            a place where nothing can be written.
    """
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        endings = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{str(path)!r} has the wrong ending: end it in {endings}.")
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder: name a file in it.")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Find out early that there can be no file or folder of this name.

    Raises:
        InputError: If the path lies in a place where nothing can be written.
    """
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{path} cannot be written: {str(parent)!r} is no folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: {str(parent)!r} takes no files from you.")


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` if the block ends well.

    It lies beside `path` and has the same ending. Missing folders are made.

    Raises:
        InputError: If it cannot be written, such as on a full disk.
    """
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.draft{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)  # a link of this name would lead out of the folder
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be written: {reason}.") from error
    finally:
        with suppress(OSError):  # gone already, or its folder could not be made
            unfinished.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON.

    Raises:
        InputError: If it cannot be written.
    """
    with draft(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
