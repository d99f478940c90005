"""What the same command has begun before, and can go on with. Never imports torch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.errors import InputError
from attention_atlas.pipeline.compose import unresolved

LOCK = ".lock"
RESULT = "result.json"
SWEEP_RECORD = "sweep.yaml"

OF_THE_COMMAND = ("resume", "sweep", "run_folder")
"""Keys that tell how to begin a run, not what it is."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a run folder for this process; a process that is killed lets go of it.

    Raises:
        InputError: Another process has it.
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


def begun_run(folder: Path, config: DictConfig) -> Path | None:
    """The run that this config goes on with.

    Args:
        folder: Where a new run would be written. If it is there, it must hold this very run;
            else the newest one beside it that is unfinished, and that no process writes.
        config: As composed.

    Raises:
        InputError: The folder is there and holds another run.
    """
    wanted = run_record(config)
    if _read(folder / ".hydra" / "config.yaml") is not None:
        if _recorded_run(folder) == wanted:
            return folder
        raise InputError(
            f"{folder} holds a run of another config: take another folder, or the command that "
            "began it."
        )
    return next(
        (
            run
            for run in _newest_first(folder.parent)
            if not is_finished(run) and _recorded_run(run) == wanted and _is_free(run)
        ),
        None,
    )


def begun_sweep(folder: Path, record: Mapping[str, Any]) -> Path | None:
    """The sweep that this command goes on with; see `begun_run`.

    Raises:
        InputError: The folder is there and holds another sweep.
    """
    if _read(folder / SWEEP_RECORD) is not None:
        if _read(folder / SWEEP_RECORD) == record:
            return folder
        raise InputError(
            f"{folder} holds a sweep of another command: take another folder, or the command that "
            "began it."
        )
    sweeps = _newest_first(folder.parent)
    return next((sweep for sweep in sweeps if _read(sweep / SWEEP_RECORD) == record), None)


def check_no_sweep(folder: Path) -> None:
    """Check that a new sweep is not mixed with one that is there.

    Raises:
        InputError: The folder holds one.
    """
    if (folder / SWEEP_RECORD).is_file():
        raise InputError(f"{folder} holds a sweep already: take another folder.")


def run_record(config: DictConfig) -> dict[Any, Any]:
    """What a run is known by: its config as it is written, but for how to begin it."""
    return {key: value for key, value in unresolved(config).items() if key not in OF_THE_COMMAND}


def _recorded_run(run: Path) -> dict[Any, Any] | None:
    config = _read(run / ".hydra" / "config.yaml")
    return config and {key: config[key] for key in config if key not in OF_THE_COMMAND}


def _read(path: Path) -> dict[Any, Any] | None:
    try:
        content = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException):
        return None
    return unresolved(content) if isinstance(content, DictConfig) else None


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir()), reverse=True)


def _is_free(run: Path) -> bool:
    try:
        with locked(run):
            return True
    except InputError:
        return False


def is_finished(run: Path) -> bool:
    """Whether a run has its result."""
    return (run / RESULT).is_file()
