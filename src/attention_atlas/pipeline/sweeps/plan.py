"""Plan a command: compose and check all of its jobs, and find the folder that it writes to."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.config.compose import (
    Checker,
    compose_config,
    group_choices,
    without_hydra,
)
from attention_atlas.config.job_configs import JobComposer, JobConfig, compose_job
from attention_atlas.config.overrides import one_per_job, override_keys, quoted, swept_by_config
from attention_atlas.config.validation import check_run_folder
from attention_atlas.console import progress_bar
from attention_atlas.errors import InputError
from attention_atlas.output_files import check_room, draft
from attention_atlas.pipeline.distributed.cluster import check_no_cluster
from attention_atlas.pipeline.runs.folder import (
    FolderSnapshot,
    check_no_links,
    find_unfinished_run,
    locked,
    newest_first,
    read_values,
    run_record,
    without_null,
)
from attention_atlas.run_folder import SWEEP

HOW_TO_RUN = (
    "hydra.sweep.dir=",
    "sweep.resume=",
    "hydra/launcher=",
    "hydra.launcher.",
    "hydra.sweeper.n_trials=",
    "hydra.sweeper.n_jobs=",
)
"""Overrides of where and how a sweep runs; they may change when it is resumed."""


@dataclass(frozen=True)
class Plan:
    """The folder and the overrides of a command, before it starts.

    Attributes:
        folder: Folder of the run, or of all jobs of a multirun.
        snapshot: The folders that are there before.
        overrides: Overrides to add to those that were typed: they say where to write.
        is_multirun: Whether there are several jobs.
        is_sweep: Whether it is a multirun that the same command resumes.
        resumes: Whether runs in the folder are resumed, and finished ones skipped.
    """

    folder: Path
    snapshot: FolderSnapshot
    overrides: list[str]
    is_multirun: bool = False
    is_sweep: bool = False
    resumes: bool = False


def plan_command(name: str, overrides: list[str], multirun: bool, checker: Checker) -> Plan:
    """Plan a command before Hydra makes a folder.

    Args:
        name: The main config.
        overrides: Those that were typed.
        multirun: Whether `-m` was typed; a config may ask for it too.
        checker: Checks the config of each job.

    Raises:
        InputError: A job cannot run, or its folder cannot be used.
    """
    first = compose_config(name, one_per_job(overrides)[0])
    if not multirun and first.hydra.mode != RunMode.MULTIRUN:
        return _plan_run(name, overrides, checker)
    check_no_cluster()
    if "sweep" in first:
        return _plan_sweep(name, overrides, first, checker)
    folder = _folder(first, "hydra.sweep.dir")
    plan = Plan(
        folder, FolderSnapshot(folder), [_override("hydra.sweep.dir", folder)], is_multirun=True
    )
    _check_jobs(name, one_per_job(swept_by_config(first) + overrides), plan, checker)
    return plan


def _plan_run(name: str, overrides: list[str], checker: Checker) -> Plan:
    job = compose_job(name, overrides)
    folder = _folder(job.whole, "hydra.run.dir")
    resumed = None
    if job.config.get("resume") == "auto":
        is_typed = "hydra.run.dir" in override_keys(overrides)
        resumed = find_unfinished_run(folder, job.config, beside=not is_typed)
    if resumed is not None:
        check_no_links(resumed)
    folder = resumed or folder
    # Its name holds the time, and Hydra would compose it again.
    added = [_override("hydra.run.dir", folder)]
    plan = Plan(folder, FolderSnapshot(folder), added, resumes=resumed is not None)
    _check_job(job, folder, plan, checker)
    return plan


def _plan_sweep(name: str, overrides: list[str], first: DictConfig, checker: Checker) -> Plan:
    """Plan a sweep of trainings, which the same command resumes."""
    swept = swept_by_config(first)
    jobs = one_per_job(swept + overrides)
    folder = _folder(first, "hydra.sweep.dir")
    record = _sweep_record(overrides, without_hydra(compose_config(name, jobs[0])))
    is_typed = "hydra.sweep.dir" in override_keys(overrides)
    resumed = None
    if first.sweep.resume:
        resumed = _unfinished_sweep(folder, record, beside=not is_typed)
    if resumed is not None:
        check_no_links(resumed)
    folder = resumed or folder
    varied = override_keys(swept + overrides, swept_only=True)
    common = ",".join(quoted(key) for key in override_keys(overrides) if key not in varied)
    plan = Plan(
        folder,
        FolderSnapshot(folder),
        [
            _override("hydra.sweep.dir", folder),
            f"hydra.job.config.override_dirname.exclude_keys=[{common}]",
        ],
        is_multirun=True,
        is_sweep=True,
        # A search may draw the same values again, and then has their result already.
        resumes=resumed is not None or _is_search(first),
    )
    _check_search(first)
    _check_jobs(name, jobs, plan, checker)
    with locked(folder):
        if resumed is None and (folder / SWEEP).is_file():
            raise InputError(f"{folder} holds a sweep already: take another folder.")
        try:
            check_room(folder)
        except InputError:
            plan.snapshot.restore(folder)
            raise
        with draft(folder / SWEEP) as unfinished:
            OmegaConf.save(OmegaConf.create(record), unfinished)
    return plan


def _unfinished_sweep(folder: Path, record: Mapping[str, Any], beside: bool) -> Path | None:
    """Return the sweep of this record: the folder itself, or else the newest one beside it."""
    found = _recorded_sweep(folder)
    if found == record:
        return folder
    if found is not None:
        raise InputError(
            f"{folder} holds a sweep of another command: take another folder, or the command that "
            "started it."
        )
    sweeps = newest_first(folder.parent) if beside else []
    return next((sweep for sweep in sweeps if _recorded_sweep(sweep) == record), None)


def _recorded_sweep(folder: Path) -> dict[Any, Any] | None:
    values = read_values(folder, SWEEP)
    return values and without_null(values)


def _sweep_record(overrides: Sequence[str], config: DictConfig) -> dict[str, Any]:
    """Return what identifies a sweep: its command line, and the config of its first job."""
    command = [line for line in overrides if not line.startswith(HOW_TO_RUN)]
    return {"overrides": command, "config": run_record(config)}


def _check_jobs(name: str, jobs: list[list[str]], plan: Plan, checker: Checker) -> None:
    """Check each job of a multirun; of a search only the first, since it draws the values later."""
    folders: set[Path] = set()
    composer = JobComposer(name)
    with progress_bar("checked jobs") as progress:
        for number, overrides in enumerate(jobs):
            job = composer.compose([*overrides, *plan.overrides], number)
            folder = plan.folder / _folder(job.whole, "hydra.sweep.subdir")
            _check_job_folder(folder, plan.folder, folders)
            folders.add(folder)
            _check_job(job, folder, plan, checker)
            if _is_search(job.whole):
                break
            if progress is not None:
                progress(number + 1, len(jobs))


def _check_search(config: DictConfig) -> None:
    """Check how many trials a search takes."""
    for key in ("n_trials", "n_jobs"):
        count = config.hydra.sweeper.get(key, 1)
        if not isinstance(count, int) or count < 1:
            raise InputError(
                f"hydra.sweeper.{key}={count} is not possible: take an integer from 1."
            )


def _check_job_folder(folder: Path, sweep: Path, others: set[Path]) -> None:
    """Check that a job has a folder of its own directly in that of the sweep."""
    if folder in others:
        raise InputError(
            f"Two jobs would write to {folder}: leave hydra.sweep.subdir out, or let it hold "
            "${hydra.job.num}."
        )
    if os.path.normpath(folder.parent) != os.path.normpath(sweep):
        raise InputError(
            f"hydra.sweep.subdir={os.path.relpath(folder, sweep)} is not a folder directly in that "
            "of the sweep: leave it out, or take a name without slashes."
        )


def _check_job(job: JobConfig, folder: Path, plan: Plan, checker: Checker) -> None:
    if not plan.resumes:
        check_run_folder(folder)
    checker.check(job.config, group_choices(job.whole), str(folder))


def _is_search(config: DictConfig) -> bool:
    return group_choices(config)["hydra/sweeper"] != "basic"


def _override(key: str, folder: Path) -> str:
    return f"{key}={quoted(str(folder))}"


def _folder(config: DictConfig, key: str) -> Path:
    """Return a folder that Hydra is going to write to."""
    try:
        return Path(str(OmegaConf.select(config, key)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"The run folder cannot be resolved: {reason}.") from error
