"""Find the sweep that the same command started before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from attention_atlas.errors import InputError
from attention_atlas.pipeline.runs.folder import newest_first, read_values, run_record
from attention_atlas.run_folder import SWEEP


def unfinished_sweep(folder: Path, record: Mapping[str, Any]) -> Path | None:
    """Return the sweep that this command resumes, None for a new one.

    Args:
        folder: Folder of a new sweep. If it exists it must hold this very sweep; else the newest
            one beside it is taken.
        record: The record of the command, see `sweep_record`.

    Raises:
        InputError: The folder holds another sweep.
    """
    if read_values(folder, SWEEP) is not None:
        if read_values(folder, SWEEP) == record:
            return folder
        raise InputError(
            f"{folder} holds a sweep of another command: take another folder, or the command that "
            "started it."
        )
    sweeps = newest_first(folder.parent)
    return next((sweep for sweep in sweeps if read_values(sweep, SWEEP) == record), None)


def check_no_sweep(folder: Path) -> None:
    """Check that a folder holds no other sweep.

    Raises:
        InputError: It does.
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
"""Overrides of where and how a sweep runs; they may change when it is resumed."""


def sweep_record(overrides: Sequence[str], config: DictConfig) -> dict[str, Any]:
    """Return what identifies a sweep: its command line, and the config of its first job."""
    command = [line for line in overrides if not line.startswith(HOW_TO_RUN)]
    return {"overrides": command, "config": run_record(config)}


def write_record(sweep: Path, record: dict[str, Any]) -> None:
    """Save the record of a sweep in its folder."""
    sweep.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(record), sweep / SWEEP)
