"""Sweeps that the same command resumes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from attention_atlas.errors import InputError
from attention_atlas.pipeline.runs.resume import _newest_first, _read, run_record
from attention_atlas.run_folder import SWEEP


def begun_sweep(folder: Path, record: Mapping[str, Any]) -> Path | None:
    """The sweep that this command goes on with; see `begun_run`.

    Raises:
        InputError: The folder is there and holds another sweep.
    """
    if _read(folder, SWEEP) is not None:
        if _read(folder, SWEEP) == record:
            return folder
        raise InputError(
            f"{folder} holds a sweep of another command: take another folder, or the command that "
            "began it."
        )
    sweeps = _newest_first(folder.parent)
    return next((sweep for sweep in sweeps if _read(sweep, SWEEP) == record), None)


def check_no_sweep(folder: Path) -> None:
    """Check that a new sweep is not mixed with one that is there.

    Raises:
        InputError: The folder holds one.
    """
    if (folder / SWEEP).is_file():
        raise InputError(f"{folder} holds a sweep already: take another folder.")


HOW_TO_RUN = (
    "hydra.sweep.dir=",
    "sweep.resume=",
    "hydra/launcher=",
    "hydra.launcher.",
    "hydra.sweeper.n_trials=",
    "hydra.sweeper.n_jobs=",
)
"""Overrides that tell where and how a sweep is run, not what it is: they may change."""


def sweep_record(overrides: Sequence[str], config: DictConfig) -> dict[str, Any]:
    """What a sweep is known by: its command line, and what that composes to."""
    command = [line for line in overrides if not line.startswith(HOW_TO_RUN)]
    return {"overrides": command, "config": run_record(config)}


def write_record(sweep: Path, record: dict[str, Any]) -> None:
    """Keep what a sweep was begun by."""
    sweep.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(record), sweep / SWEEP)
