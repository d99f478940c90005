"""From the command line to a checked config; imports neither torch nor lightning."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.errors import InputError
from attention_atlas.pipeline.checks import check_config, check_fixed, check_run_folder
from attention_atlas.pipeline.compose import (
    compose_config,
    compose_reference,
    config_folder,
    group_choices,
    group_options,
    one_per_job,
    swept_by_config,
    without_hydra,
)
from attention_atlas.pipeline.leftovers import Before
from attention_atlas.pipeline.ranks import STARTED_ELSEWHERE

INPUT_ERROR_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130  # as shells have it: 128 + SIGINT
NOT_VALIDATED = "Early stopping conditioned on metric"  # how Lightning's error opens

Job = Callable[[DictConfig, Path], Any]
Check = Callable[[DictConfig, DictConfig, Mapping[str, str | None]], None]


def run_command(
    job: Job, config_name: str, conf: Path, description: str | None, check: Check = check_config
) -> None:
    """Run a Hydra application, checked before Hydra writes anything.

    What the user got wrong ends in a sentence and exit code 2; with HYDRA_FULL_ERROR=1 the
    traceback is shown.

    Args:
        job: Gets the composed config and the run folder; the place to import torch.
        config_name: The main config.
        conf: The folder of the configs.
        description: What `--help` opens with.
        check: Gets the config, the same choice of options with no value changed, and that choice.
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
        self._references: dict[tuple[tuple[str, str | None], ...], DictConfig] = {}
        self._before: Before | None = None

    def run(self) -> None:
        """Do what the command line says, and exit."""
        arguments = get_args_parser().parse_args()
        shows_only = arguments.cfg or arguments.info or arguments.hydra_help
        shows_only = shows_only or arguments.shell_completion or arguments.experimental_rerun
        other_folder = arguments.config_path or arguments.config_dir
        try:
            if arguments.config_name:
                self.config_name = arguments.config_name
            if arguments.help:
                print(self.help(arguments.overrides))
                return
            if not shows_only and not other_folder:
                self.check_first(arguments.overrides, arguments.multirun)
            application = hydra.main(
                version_base="1.3", config_path=str(self.conf), config_name=self.config_name
            )
            application(self._hydra_job())()
        except BrokenPipeError:  # as in: python train.py --help | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:
            _stop(error)
        except KeyboardInterrupt as interrupt:
            print(
                f"interrupted{''.join(f'; {words}' for words in interrupt.args)}", file=sys.stderr
            )
            sys.exit(INTERRUPTED_EXIT_CODE)

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

    def check_first(self, overrides: list[str], multirun: bool) -> None:
        """Compose and check each job before Hydra makes a folder for the first.

        Raises:
            InputError: Something cannot be used, or this is one of several processes already.
        """
        if STARTED_ELSEWHERE in os.environ:
            raise InputError(
                f"{STARTED_ELSEWHERE} is set, as by torchrun: start python train.py trainer=ddp "
                "by itself, which starts a process for each device."
            )
        with config_folder(self.conf):
            first = compose_config(self.config_name, one_per_job(overrides)[0])
            multirun = multirun or first.hydra.mode == RunMode.MULTIRUN
            swept = swept_by_config(first)
            jobs = one_per_job(swept + overrides) if multirun else [overrides]
            for number, job_overrides in enumerate(jobs):
                config = compose_config(self.config_name, job_overrides)
                choices = group_choices(config)
                if multirun and choices["hydra/sweeper"] != "basic":
                    break  # another sweeper draws the values: each job is checked when it starts
                if multirun:  # as Hydra's launcher does
                    config.hydra.job.num, config.hydra.job.id = number, f"job_id_for_{number}"
                HydraConfig.instance().set_config(config)
                base, folder = _folders(config, multirun)
                self._before = self._before or Before(base)
                check_run_folder(folder)
                self._check_once(without_hydra(config), choices, str(base))

    def _check_once(
        self, config: DictConfig, choices: Mapping[str, str | None], run_folder: str
    ) -> None:
        """Check a config, unless this very config was checked already."""
        key = OmegaConf.to_yaml(config, resolve=False)
        if key in self._checked:
            return
        self._checked.add(key)
        reference = self._reference(choices)
        check_fixed(config, reference)
        config = config.copy()
        if "run_folder" in config:  # Hydra knows it only when the job runs
            config.run_folder = reference.run_folder = run_folder
        self.check(config, reference, choices)

    def _reference(self, choices: Mapping[str, str | None]) -> DictConfig:
        """What these options are by default; jobs of a sweep often share it."""
        key = tuple(sorted(choices.items()))
        if key not in self._references:
            self._references[key] = compose_reference(self.config_name, choices)
        return self._references[key].copy()

    def _hydra_job(self) -> Callable[[DictConfig], Any]:
        @wraps(self.job)  # Hydra names the job after the file of the wrapped function
        def run_job(config: DictConfig) -> Any:
            runtime = HydraConfig.get().runtime
            folder = Path(runtime.output_dir)
            try:
                check_run_folder(folder)
                self._check_once(config, dict(runtime.choices), str(folder))
                return self.job(config, folder)
            except Exception as error:
                if sentence_of(error) is not None and self._before is not None:
                    self._before.restore(folder)
                _stop(error)

        return run_job


def _folders(config: DictConfig, multirun: bool) -> tuple[Path, Path]:
    """Where Hydra is going to write, and the folder of the job in it."""
    try:
        if not multirun:
            return Path(config.hydra.run.dir), Path(config.hydra.run.dir)
        base = Path(config.hydra.sweep.dir)
        return base, base / str(config.hydra.sweep.subdir)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"The run folder cannot be resolved: {reason}.") from error


def sentence_of(error: BaseException) -> str | None:
    """The sentence that an error ends in; None for what is not the user's doing."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        if (
            isinstance(error.__cause__, TypeError | ValueError)
            and sentence_of(error.__cause__) is None
        ):
            return f"The config does not fit: {' '.join(str(error.__cause__).split())}"
        return sentence_of(error.__cause__)
    if isinstance(error, RuntimeError) and str(error).startswith(NOT_VALIDATED):
        return (
            "Training ended before its first validation, so there is no best checkpoint. Give it "
            "more steps (trainer.max_steps), or validate earlier (trainer.val_check_interval)."
        )
    if isinstance(error, ModuleNotFoundError) and "pip install" in str(error):
        return " ".join(str(error).split())
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, not imported here
        return " ".join(str(error).split())
    return None


def _stop(error: Exception) -> None:
    sentence = sentence_of(error)
    if sentence is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(INPUT_ERROR_EXIT_CODE)
