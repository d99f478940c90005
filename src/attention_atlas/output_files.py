"""Write a file completely or not at all; an existing file stays until it is replaced."""

import json
import os
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
    """Yield a path to write to, which replaces `path` if the block raises no error.

    It lies beside `path` and has the same suffix. Missing folders are created.

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
        with suppress(OSError):  # removed already, or its folder could not be created
            unfinished.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON.

    Raises:
        InputError: If it cannot be written.
    """
    with draft(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
