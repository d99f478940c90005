"""The life of a job: lock its folder, resume or check it, run it, and record or undo a failure."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from attention_atlas.config.compose import Checker
from attention_atlas.config.plain import absolute_paths, unresolved
from attention_atlas.config.validation import check_run_folder
from attention_atlas.console import discard_output
from attention_atlas.output_files import draft, full_disk
from attention_atlas.pipeline.exits import exit_with, user_message
from attention_atlas.pipeline.runs.folder import locked
from attention_atlas.pipeline.sweeps.jobs import objective_of, record_failure
from attention_atlas.pipeline.sweeps.plan import Plan
from attention_atlas.run_folder import CONFIG, FAILURE, is_finished

Job = Callable[[DictConfig, Path], Any]

log = logging.getLogger(__name__)


def hydra_job(job: Job, plan: Plan | None, checker: Checker) -> Callable[[DictConfig], Any]:
    """Wrap a job into what Hydra calls, once for each job of a multirun.

    A job of a multirun that fails is recorded, and the next one starts, unless the disk is full. A
    single run that the user has to correct leaves no folder.

    Args:
        job: Gets the composed config and the run folder; a sweep optimizes what it returns.
        plan: None where the command was not planned, since its configs lie elsewhere.
        checker: Checks the config unless it was checked before.
    """

    @wraps(job)
    def run(config: DictConfig) -> Any:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            return _run(job, config, folder, checker, resumes=plan is not None and plan.resumes)
        except BrokenPipeError as error:  # the reader of the output has gone
            discard_output()
            raise SystemExit from error
        except Exception as error:
            message = user_message(error)
            # The next job could not be written to a full disk either.
            if HydraConfig.get().mode == RunMode.MULTIRUN and full_disk(error) is None:
                if message is None:
                    log.exception("the job failed")
                record_failure(folder, message or f"{type(error).__name__}: {error}")
                return None
            if message is not None and plan is not None and not plan.is_multirun:
                plan.snapshot.restore(folder)
            exit_with(error)

    return run


def _run(job: Job, config: DictConfig, folder: Path, checker: Checker, resumes: bool) -> Any:
    # Before Hydra wrote to it, the command locked the folder of a single run, and checked it.
    is_job = HydraConfig.get().mode == RunMode.MULTIRUN
    with locked(folder) if is_job else nullcontext():
        if resumes:
            if is_finished(folder):
                print(f"{folder} is finished already")
                return objective_of(config, folder)
            config.resume = "auto"
        elif is_job:
            check_run_folder(folder)
        (folder / FAILURE).unlink(missing_ok=True)
        checker.check(config, dict(HydraConfig.get().runtime.choices), str(folder))
        _store_absolute_paths(config, folder)
        return job(config, folder)


def _store_absolute_paths(config: DictConfig, folder: Path) -> None:
    """Name the data by absolute paths, also in the file of Hydra: a run is used from anywhere."""
    if config.get("data") is None or not (folder / CONFIG).is_file():
        return
    config.data = absolute_paths(unresolved(config.data))
    with draft(folder / CONFIG) as unfinished:
        OmegaConf.save(config, unfinished)
