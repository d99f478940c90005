"""Run a Hydra application, checked before Hydra writes; imports neither torch nor lightning."""

import argparse
import io
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import NoReturn

import hydra
from omegaconf import OmegaConf

from attention_atlas.config.compose import (
    Check,
    Checker,
    add_config_folder,
    compose_config,
    config_folder,
    group_options,
    without_hydra,
)
from attention_atlas.config.validation import check_config, check_run_folder
from attention_atlas.errors import InputError
from attention_atlas.interrupts import Interrupted
from attention_atlas.output_files import check_room
from attention_atlas.pipeline.distributed.cluster import check_cluster, find_cluster, is_first
from attention_atlas.pipeline.exits import FAILED_JOBS_EXIT_CODE, exits, exits_at_once
from attention_atlas.pipeline.job import Job, hydra_job
from attention_atlas.pipeline.runs.folder import locked
from attention_atlas.pipeline.sweeps.jobs import end_sweep, failed_jobs, job_name, list_failures
from attention_atlas.pipeline.sweeps.plan import Plan, plan_command


def run_command(
    job: Job, config_name: str, conf: Path, usage: str, check: Check = check_config
) -> None:
    """Run a Hydra application with the arguments in `sys.argv`, and exit if it fails.

    Wrong input ends in a one-line error and exit code 2, before Hydra makes a folder; with
    HYDRA_FULL_ERROR=1 the traceback is shown.

    Args:
        job: Gets the composed config and the run folder, and may import torch; a sweep optimizes
            what it returns.
        config_name: The main config.
        conf: The folder of the configs.
        usage: The opening of `--help`.
        check: Gets the config and the option of each group.
    """
    with exits():
        arguments = parse_arguments(sys.argv[1:])
    name = arguments.config_name or config_name
    checker = Checker(lambda config, _: check_cluster(config), check)
    plan = None
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    with exits():
        if arguments.experimental_rerun:
            raise InputError(
                "--experimental-rerun opens a pickle, which runs any code in it: evaluate a run by "
                "atlas evaluate run=FOLDER, or train by the overrides in its .hydra folder."
            )
        if arguments.config_path:
            raise InputError(
                "--config-path replaces all configs of this package: take --config-dir FOLDER, "
                "which adds those of a folder to them."
            )
        if arguments.config_dir:
            add_config_folder(Path(arguments.config_dir))
        if arguments.help:
            print(_help(usage, name, conf, arguments.overrides))
            return
        if not arguments.shows_only:
            _join_cluster()
            with config_folder(conf):
                plan = plan_command(name, arguments.overrides, arguments.multirun, checker)
            _add_overrides(arguments.overrides, plan.overrides)
    application = hydra.main(version_base="1.3", config_path=str(conf), config_name=name)
    run = application(hydra_job(job, plan, checker))
    if arguments.shows_only:
        run = partial(_print_at_end, run)
    with exits_at_once() if find_cluster() is not None else nullcontext():
        _run(run, plan)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(
            f"{message[:1].upper()}{message[1:]}. Options such as -m stand before all key=value "
            "or behind them."
        )


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the arguments of a Hydra application.

    `hydra.main` parses `sys.argv` by itself and has no public parser, so its options are named here
    again; a test compares them.

    Returns:
        Each option by its name, and `shows_only`: whether Hydra prints something in place of a run.

    Raises:
        InputError: An option is not known, or stands between overrides.
    """
    parser = _Parser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--cfg", "-c")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--experimental-rerun")
    parser.add_argument("--info", "-i", nargs="?", const="all")
    found = parser.parse_args(arguments)
    shown = (found.cfg, found.info, found.hydra_help, found.version, found.shell_completion)
    found.shows_only = any(shown)
    return found


def _help(usage: str, name: str, conf: Path, overrides: list[str]) -> str:
    """Describe the command, the options of each group, and all values."""
    with config_folder(conf):
        composed = compose_config(name, overrides)
        groups = group_options(composed)
    config = without_hydra(composed)
    listed = "\n".join(f"  {group}: {', '.join(options)}" for group, options in groups.items())
    return (
        f"{usage.strip()}\n\nGroups (group=option):\n{listed}\n\n"
        f"Values (key=value):\n{OmegaConf.to_yaml(config)}"
    )


def _add_overrides(typed: list[str], added: list[str]) -> None:
    """Insert overrides into `sys.argv` behind those that were typed: all must be consecutive."""
    end = len(sys.argv) - sys.argv[::-1].index(typed[-1]) if typed else len(sys.argv)
    sys.argv[end:end] = added


def _print_at_end(application: Callable[[], None]) -> None:
    """Run an application that only prints; Hydra shows a traceback if the output is full."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            application()
    finally:
        print(printed.getvalue(), end="")


def _run(application: Callable[[], None], plan: Plan | None) -> None:
    """Run an application of Hydra, and report what came of a multirun."""
    is_sweep = plan is not None and plan.is_sweep
    is_locked = plan is not None and (is_sweep or not plan.is_multirun)
    lost_job = False
    with exits(is_sweep), locked(plan.folder) if plan and is_locked else nullcontext():
        try:
            if plan is not None and not plan.is_multirun:
                _check_folder(plan)
            application()
            _shut_down_cluster()
        except SystemExit:  # Hydra's, where a launcher lost a job
            if plan is None or not plan.is_multirun:
                raise
            lost_job = True
        except (Interrupted, KeyboardInterrupt):
            if plan is not None and not plan.is_multirun:
                plan.snapshot.restore(plan.folder)
            raise
    with exits(is_sweep):
        if not _report(plan) or lost_job:
            sys.exit(FAILED_JOBS_EXIT_CODE)


def _check_folder(plan: Plan) -> None:
    """Check the folder of a run once it is locked: another process may have used it meanwhile."""
    if not plan.resumes:
        check_run_folder(plan.folder)
    try:
        check_room(plan.folder)
    except InputError:
        plan.snapshot.restore(plan.folder)
        raise


def _report(plan: Plan | None) -> bool:
    """Report the jobs of a multirun; tell whether all of them gave a result."""
    if plan is None or not plan.is_multirun:
        return True
    return end_sweep(plan.folder) if plan.is_sweep else list_failures(failed_jobs(plan.folder))


def _join_cluster() -> None:
    """Join the processes that torchrun or srun has started; only the first returns from here."""
    if find_cluster() is None:
        return
    from attention_atlas.pipeline.distributed import coordinator

    coordinator.init()
    if not is_first():
        from attention_atlas.pipeline.train import train

        coordinator.worker_loop(train)


def _shut_down_cluster() -> None:
    if find_cluster() is not None:
        from attention_atlas.pipeline.distributed import coordinator

        coordinator.shutdown()
