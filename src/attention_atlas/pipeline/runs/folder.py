"""Find, lock and clean up the folder of a run. Never imports torch."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from attention_atlas.config.allowlist import rename_targets
from attention_atlas.config.plain import absolute_paths, unresolved
from attention_atlas.errors import InputError
from attention_atlas.run_folder import (
    CHECKPOINTS,
    CONFIG,
    HPARAMS,
    HYDRA,
    IMAGES,
    LOCK,
    METRICS,
    MULTIRUN,
    PRETRAINED,
    TOKEN_PAIRS,
    TOKENIZER,
    is_finished,
    is_run,
    read_yaml,
)

OF_THE_COMMAND = ("resume", "sweep", "run_folder")
"""Keys that say how to start a run, not what it is."""


def find_unfinished_run(folder: Path, config: DictConfig, beside: bool) -> Path | None:
    """Return the run that this config resumes.

    Args:
        folder: Where a new run would be written. If it exists, it must hold this run.
        config: Composed.
        beside: Whether to take the newest run beside the folder that is unfinished and that no
            process writes, if there is none in the folder.

    Raises:
        InputError: The folder exists and holds another run.
    """
    wanted = _with_absolute_paths(run_record(config))
    if is_run(folder):
        if _recorded_run(folder) == wanted:
            return folder
        raise InputError(
            f"{folder} holds a run of another config: take another folder, or the command that "
            "started it."
        )
    return next(
        (
            run
            for run in (newest_first(folder.parent) if beside else [])
            if not is_finished(run) and _recorded_run(run) == wanted and is_free(run)
        ),
        None,
    )


def run_record(config: DictConfig) -> dict[Any, Any]:
    """Return what identifies a run: its config as it is written, without how to start it."""
    written = unresolved(config)
    return without_null({key: written[key] for key in written if key not in OF_THE_COMMAND})


def _recorded_run(run: Path) -> dict[Any, Any] | None:
    config = read_values(run, CONFIG)
    return config and _with_absolute_paths(
        without_null(
            rename_targets({key: config[key] for key in config if key not in OF_THE_COMMAND})
        )
    )


def _with_absolute_paths(record: dict[Any, Any]) -> dict[Any, Any]:
    """Name the data as runs do; a run of an earlier version may have a relative path."""
    data = record.get("data")
    return record | {"data": absolute_paths(data)} if isinstance(data, dict) else record


def without_null(values: dict[Any, Any]) -> dict[Any, Any]:
    """Leave out options that are null, which a run of an earlier version may not have yet."""
    return {
        key: without_null(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def read_values(folder: Path, name: str) -> dict[Any, Any] | None:
    """Return the unresolved values of a YAML file of a run; None if it cannot be read."""
    try:
        content = read_yaml(folder, name)
    except InputError:
        return None
    return unresolved(content) if isinstance(content, DictConfig) else None


def newest_first(folder: Path) -> list[Path]:
    """Return the folders in a folder, the newest first by name."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir()), reverse=True)


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


def check_no_links(run: Path) -> None:
    """Check that a run folder which is written again has no links in it.

    Raises:
        InputError: It has one: a file written through it would lie outside of the folder.
    """
    for parent, folders, files in os.walk(run):
        for name in folders + files:
            if os.path.islink(os.path.join(parent, name)):
                raise InputError(
                    f"{os.path.join(parent, name)} is a link, and a run is not written through "
                    "links: replace it by what it leads to."
                )


def is_free(run: Path) -> bool:
    """Whether no process writes a run folder."""
    try:
        with locked(run):
            return True
    except InputError:
        return False


STARTUP_FILES = {
    HYDRA,
    LOCK,
    TOKENIZER,
    TOKEN_PAIRS,
    IMAGES,
    METRICS,
    HPARAMS,
    MULTIRUN,
    PRETRAINED,
}
"""The files in a run folder, beside a log, before any work is done in it."""


class FolderSnapshot:
    """The folders that existed before a run.

    Args:
        folder: Where the run, or its sweep, is going to write. The last part of the name may still
            change, as it does with the time.
    """

    def __init__(self, folder: Path) -> None:
        self._base = folder.absolute().parent
        self._siblings = set(self._base.iterdir()) if self._base.is_dir() else set()
        self._parents = {path for path in folder.absolute().parents if path.exists()}

    def restore(self, folder: Path) -> None:
        """Remove a run folder, and the folders made for it, if they hold only files of a start.

        Folders that existed before, and folders with any other file, stay.
        """
        folder = folder.absolute()
        if not folder.is_relative_to(self._base) or folder == self._base:
            return
        if self._base / folder.relative_to(self._base).parts[0] in self._siblings:
            return
        for path in (folder, *folder.parents):
            if path in self._parents or not _holds_only_a_start(path):
                return
            shutil.rmtree(path)


def _holds_only_a_start(folder: Path) -> bool:
    return folder.is_dir() and all(map(_is_of_a_start, folder.iterdir()))


def _is_of_a_start(path: Path) -> bool:
    if path.name == CHECKPOINTS:  # none could be saved
        return path.is_dir() and not any(path.iterdir())
    return path.name in STARTUP_FILES or path.suffix == ".log"
