"""The jobs of a sweep: their names, failures and objective, and the report at the end."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from attention_atlas.console import print_error, print_line
from attention_atlas.errors import InputError, counted
from attention_atlas.output_files import write_json
from attention_atlas.run_folder import (
    FAILURE,
    finished_runs_in,
    is_finished,
    read_json,
    read_result,
    runs_in,
)

MAX_LENGTH = 120  # file systems take 255 bytes, tables less


def job_name(overrides: Sequence[str], excluded: Sequence[str] = ()) -> str:
    """Name a job after its overrides, with letters, digits, `.`, `_` and `-` only.

    `attention=cosine seed=1` gives `attention-cosine_seed-1`. Where other characters were replaced,
    or the name was cut, a digest of the overrides follows, so that names are unique. Configs call
    it by `${job_name:overrides,keys}`.

    Args:
        overrides: Overrides of the job, each as `key=value`.
        excluded: Keys that all jobs of the sweep have in common.
    """
    shown = sorted(line for line in overrides if line.partition("=")[0] not in excluded)
    shown = shown or sorted(overrides)
    text = "_".join("-".join(line.lstrip("+").split("=", 1)) for line in shown)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:MAX_LENGTH]
    if name == text and name:
        return name
    digest = hashlib.sha256("\n".join(shown).encode()).hexdigest()[:8]
    return f"{name}-{digest}" if name else digest


def record_failure(job: Path, message: str) -> None:
    """Save and print why a job failed."""
    now = datetime.now().isoformat(timespec="seconds")
    write_json(job / FAILURE, {"sentence": message, "time": now})
    print_error(f"{job.name}: {message}")


def unfinished_jobs(sweep: Path) -> dict[Path, str]:
    """Return the jobs of a sweep without a result, each with the reason."""
    return {job: _reason(job) for job in runs_in(sweep) if not is_finished(job)}


def failed_jobs(multirun: Path) -> dict[Path, str]:
    """Return the failed jobs of any multirun, each with the reason."""
    return {path.parent: _reason(path.parent) for path in sorted(multirun.glob(f"*/{FAILURE}"))}


def _reason(job: Path) -> str:
    with suppress(InputError, KeyError):
        return str((read_json(job, FAILURE) or {})["sentence"])
    return "The job ended before it finished."


def objective_of(config: DictConfig, run: Path) -> float | None:
    """Return the metric that a sweep optimizes, of a finished run; None if the run lacks it.

    It is the one that the best checkpoint is chosen by.
    """
    value = None
    if "callbacks" in config:
        value = read_result(run).get(config.callbacks.checkpoint.monitor)
    return None if value is None else float(value)


def end_sweep(sweep: Path) -> bool:
    """Write and print the report of a sweep; return whether all of its jobs gave a result."""
    from attention_atlas.analysis.sweeps import print_sweep, write_sweep  # slow to import

    if finished_runs_in(sweep):
        print_sweep(write_sweep(sweep))
        print(f"sweep folder: {sweep}\nnext: atlas sweep {sweep}")
    return list_failures(unfinished_jobs(sweep))


def list_failures(failed: Mapping[Path, str]) -> bool:
    """Print failed jobs; return whether there are none."""
    if failed:
        jobs = counted(len(failed), "job")
        print_line(f"{jobs} gave no result; the same command tries again:", on_stderr=True)
        for job, reason in failed.items():
            print_line(f"  {job}: {reason}", on_stderr=True)
    return not failed
