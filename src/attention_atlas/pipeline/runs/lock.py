"""One process at a time in a run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from attention_atlas.errors import InputError
from attention_atlas.run_folder import LOCK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder for this process; a killed process releases it.

    Raises:
        InputError: Another process has locked it, or it cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except OSError as error:
        if not isinstance(error, Timeout):
            raise InputError(f"{folder} cannot be written: {error.strerror}.") from error
        raise InputError(
            f"Another process is writing {folder}: wait until it ends, or take another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_free(run: Path) -> bool:
    """Whether no process writes a run folder."""
    try:
        with locked(run):
            return True
    except InputError:
        return False
