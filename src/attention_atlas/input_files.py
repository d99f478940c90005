"""Read files that a user names: regular ones only, of bounded size."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from attention_atlas.errors import InputError


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; never wait for a pipe, and never read a device.

    Raises:
        InputError: It is not a regular file, is missing, or cannot be read.
    """
    try:
        # Without the flag, opening a pipe waits until someone writes to it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    what = "Is a directory" if stat.S_ISDIR(mode) else "it is a pipe or a device"
    raise InputError(f"{path} cannot be read: {what}; give a regular file.")


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        InputError: As `open_regular`, or the file cannot be read.
    """
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
