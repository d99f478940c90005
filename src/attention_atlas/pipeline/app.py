"""From the command line to a checked config; imports neither torch nor lightning."""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.config.compose import (
    compose_config,
    config_folder,
    group_choices,
    group_options,
    without_hydra,
)
from attention_atlas.config.overrides import one_per_job, override_keys, quoted, swept_by_config
from attention_atlas.config.validation import check_config, check_fixed, check_run_folder
from attention_atlas.errors import InputError
from attention_atlas.pipeline.distributed.cluster import check_launched, launched
from attention_atlas.pipeline.distributed.rank import is_first
from attention_atlas.pipeline.exits import (
    INTERRUPTED_EXIT_CODE,
    RESUME_HINT,
    RESUME_SWEEP_HINT,
    Interrupted,
    sentence_of,
)
from attention_atlas.pipeline.runs.cleanup import FolderSnapshot
from attention_atlas.pipeline.runs.lock import locked
from attention_atlas.pipeline.runs.resume import begun_run
from attention_atlas.pipeline.sweeps.job_name import register_job_name
from attention_atlas.pipeline.sweeps.jobs import (
    check_not_failed,
    end_sweep,
    failed_jobs,
    forget_failure,
    list_failures,
    objective_of,
    record_failure,
)
from attention_atlas.pipeline.sweeps.resume import (
    begun_sweep,
    check_no_sweep,
    sweep_record,
    write_record,
)
from attention_atlas.run_folder import is_finished

INPUT_ERROR_EXIT_CODE = 2
FAILED_JOBS_EXIT_CODE = 1

Job = Callable[[DictConfig, Path], Any]
Check = Callable[[DictConfig, Mapping[str, str | None]], None]

log = logging.getLogger(__name__)


def run_command(
    job: Job, config_name: str, conf: Path, description: str | None, check: Check = check_config
) -> None:
    """Run a Hydra application, checked before Hydra writes anything.

    What the user got wrong ends in a sentence and exit code 2; with HYDRA_FULL_ERROR=1 the
    traceback is shown.

    Args:
        job: Gets the composed config and the run folder; the place to import torch. What it gives
            back a sweep optimises.
        config_name: The main config.
        conf: The folder of the configs.
        description: What `--help` opens with.
        check: Gets the config and the option of each group.
    """
    Command(job, config_name, conf, description or "", check).run()


class Command:
    """A Hydra application; see `run_command` for its arguments."""

    def __init__(
        self, job: Job, config_name: str, conf: Path, description: str, check: Check
    ) -> None:
        self.job = job
        self.config_name = config_name
        self.conf = conf
        self.description = description
        self.check = check
        self._checked: set[str] = set()
        self._before: FolderSnapshot | None = None
        self._multirun: Path | None = None
        self._sweep: Path | None = None
        self._goes_on = False

    def run(self) -> None:
        """Do what the command line says, and exit."""
        arguments = get_args_parser().parse_args()
        shows_only = arguments.cfg or arguments.info or arguments.hydra_help
        shows_only = shows_only or arguments.shell_completion
        other_folder = arguments.config_path or arguments.config_dir
        register_job_name()
        complete = True
        try:
            if arguments.experimental_rerun:
                raise InputError(
                    "--experimental-rerun opens a pickle, which runs what it likes: evaluate a run "
                    "by atlas evaluate run=FOLDER, or train by the overrides in its .hydra folder."
                )
            if arguments.config_name:
                self.config_name = arguments.config_name
            if arguments.help:
                print(self.help(arguments.overrides))
                return
            if launched() is not None and not shows_only:
                _meet_the_other_ranks()
            if not shows_only and not other_folder:
                _type(
                    arguments.overrides,
                    self.check_first(arguments.overrides, arguments.multirun),
                )
            application = hydra.main(
                version_base="1.3", config_path=str(self.conf), config_name=self.config_name
            )
            with nullcontext() if self._sweep is None else locked(self._sweep):
                application(self._hydra_job())()
            _dismiss_the_other_ranks()
            complete = self._end()
        except BrokenPipeError:  # as in: atlas train --help | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Interrupted as end:
            goes_on = [] if end.checkpoint is None else [RESUME_HINT]
            words = goes_on if self._sweep is None else [RESUME_SWEEP_HINT]
            print("; ".join([end.sentence, *words]), file=sys.stderr)
            sys.exit(end.exit_code)
        except KeyboardInterrupt as interrupt:
            words = list(interrupt.args) if self._sweep is None else [RESUME_SWEEP_HINT]
            print("; ".join(["interrupted", *words]), file=sys.stderr)
            sys.exit(INTERRUPTED_EXIT_CODE)
        except SystemExit as end:  # Hydra's, where a launcher lost a job
            if self._multirun is None:
                raise
            self._end()
            sys.exit(end.code or FAILED_JOBS_EXIT_CODE)
        except Exception as error:
            _stop(error)
        if not complete:
            sys.exit(FAILED_JOBS_EXIT_CODE)

    def _end(self) -> bool:
        """Say what came of a multirun; tell whether nothing failed."""
        if self._sweep is not None:
            return end_sweep(self._sweep)
        return self._multirun is None or list_failures(failed_jobs(self._multirun))

    def help(self, overrides: list[str]) -> str:
        """What the command is for, the options of each group, and all values."""
        with config_folder(self.conf):
            config = without_hydra(compose_config(self.config_name, overrides))
        groups = group_options(self.conf).items()
        listed = "\n".join(f"  {group}: {', '.join(options)}" for group, options in groups)
        return (
            f"{self.description.strip()}\n\nGroups (group=option):\n{listed}\n\n"
            f"Values (key=value, as in encoder.depth=2):\n{OmegaConf.to_yaml(config)}"
        )

    def check_first(self, overrides: list[str], multirun: bool) -> list[str]:
        """Compose and check each job before Hydra makes a folder for the first.

        Returns:
            Overrides to add: where to write, which is where the same command wrote before if it
            goes on.

        Raises:
            InputError: Something cannot be used.
        """
        with config_folder(self.conf):
            first = compose_config(self.config_name, one_per_job(overrides)[0])
            if multirun or first.hydra.mode == RunMode.MULTIRUN:
                return self._check_sweep(overrides, first)
            return self._check_run(compose_config(self.config_name, overrides))

    def _check_run(self, config: DictConfig) -> list[str]:
        HydraConfig.instance().set_config(config)
        folder = _folder(config, "hydra.run.dir")
        added = []
        if config.get("resume") == "auto":
            begun = begun_run(folder, without_hydra(config))
            if begun is not None:
                folder, self._goes_on = begun, True
                added = [f"hydra.run.dir={quoted(str(folder))}"]
        self._before = FolderSnapshot(folder)
        self._check_job(config, folder)
        return added

    def _check_sweep(self, overrides: list[str], first: DictConfig) -> list[str]:
        swept = swept_by_config(first)
        jobs = one_per_job(swept + overrides)
        sweep = _folder(first, "hydra.sweep.dir")
        added, record = [], {}
        if "sweep" in first:
            record = sweep_record(
                overrides, without_hydra(compose_config(self.config_name, jobs[0]))
            )
            begun = begun_sweep(sweep, record) if first.sweep.resume else None
            if begun is None:
                check_no_sweep(sweep)
            sweep = begun or sweep
            # A search may draw the same values again, and then has their result already.
            draws = group_choices(first)["hydra/sweeper"] != "basic"
            self._goes_on = begun is not None or draws
            varied = override_keys(swept + overrides, swept_only=True)
            common = ",".join(quoted(key) for key in override_keys(overrides) if key not in varied)
            added = [
                f"hydra.sweep.dir={quoted(str(sweep))}",
                f"hydra.job.config.override_dirname.exclude_keys=[{common}]",
            ]
            self._sweep = sweep
        else:
            added = [f"hydra.sweep.dir={quoted(str(sweep))}"]
        self._multirun = sweep
        self._before = FolderSnapshot(sweep)
        for number, job_overrides in enumerate(jobs):
            config = compose_config(self.config_name, [*job_overrides, *added])
            config.hydra.job.num, config.hydra.job.id = number, f"job_id_for_{number}"
            HydraConfig.instance().set_config(config)
            self._check_job(config, sweep / str(_folder(config, "hydra.sweep.subdir")))
            if group_choices(config)["hydra/sweeper"] != "basic":
                break  # another sweeper draws the values: each job is checked when it starts
        if record:
            write_record(sweep, record)
        return added

    def _check_job(self, config: DictConfig, folder: Path) -> None:
        if not self._goes_on:
            check_run_folder(folder)
        self._check_once(without_hydra(config), group_choices(config), str(folder))

    def _check_once(
        self, config: DictConfig, choices: Mapping[str, str | None], run_folder: str
    ) -> None:
        """Check a config, unless this very config was checked already."""
        key = OmegaConf.to_yaml(config, resolve=False)
        if key in self._checked:
            return
        self._checked.add(key)
        check_fixed(config)
        check_launched(config)
        config = config.copy()
        if "run_folder" in config:  # Hydra knows it only when the job runs
            config.run_folder = run_folder
        self.check(config, choices)

    def _hydra_job(self) -> Callable[[DictConfig], Any]:
        @wraps(self.job)  # Hydra names the job after the file of the wrapped function
        def run_job(config: DictConfig) -> Any:
            folder = Path(HydraConfig.get().runtime.output_dir)
            try:
                return self._run_job(config, folder)
            except Exception as error:
                sentence = sentence_of(error)
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    if sentence is None:
                        log.exception("the job failed")
                    record_failure(folder, sentence or f"{type(error).__name__}: {error}")
                    return None
                if sentence is not None and self._before is not None:
                    self._before.restore(folder)
                _stop(error)

        return run_job

    def _run_job(self, config: DictConfig, folder: Path) -> Any:
        if not self._goes_on:
            check_run_folder(folder)
        with locked(folder):
            if self._goes_on:
                if is_finished(folder):
                    print(f"{folder} is finished already")
                    return objective_of(config, folder)
                config.resume = "auto"
            if launched() is not None:  # here a failure ends all, and would do so again and again
                check_not_failed(folder)
            forget_failure(folder)
            self._check_once(config, dict(HydraConfig.get().runtime.choices), str(folder))
            return self.job(config, folder)


def _meet_the_other_ranks() -> None:
    """Go on as the first of the ranks that torchrun or srun has started, or follow it and exit."""
    from attention_atlas.pipeline.distributed import coordinator

    coordinator.join()
    if not is_first():
        from attention_atlas.pipeline.train import train

        coordinator.follow(train)


def _dismiss_the_other_ranks() -> None:
    if launched() is not None:
        from attention_atlas.pipeline.distributed import coordinator

        coordinator.dismiss()


def _type(typed: list[str], added: list[str]) -> None:
    """Add overrides behind those that were typed: all must stand together."""
    place = len(sys.argv) - sys.argv[::-1].index(typed[-1]) if typed else len(sys.argv)
    sys.argv[place:place] = added


def _folder(config: DictConfig, key: str) -> Path:
    """Where Hydra is going to write."""
    try:
        return Path(str(OmegaConf.select(config, key)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"The run folder cannot be resolved: {reason}.") from error


def _stop(error: Exception) -> None:
    sentence = sentence_of(error)
    if sentence is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(INPUT_ERROR_EXIT_CODE)
