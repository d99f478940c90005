"""A sweep as a whole: what it was begun by, which of its jobs failed, and what it ends in."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.run_folder import FAILURE, is_finished, read_json, read_result, runs_in


def record_failure(job: Path, sentence: str) -> None:
    """Keep why a job failed, and say so; the sweep goes on."""
    now = datetime.now().isoformat(timespec="seconds")
    write_json(job / FAILURE, {"sentence": sentence, "time": now})
    print(f"error: {job.name}: {sentence}", file=sys.stderr)


def forget_failure(job: Path) -> None:
    """Take back that a job failed: it is tried again."""
    (job / FAILURE).unlink(missing_ok=True)


def unfinished_jobs(sweep: Path) -> dict[Path, str]:
    """The jobs of a sweep that gave no result, each with the reason."""
    return {job: _reason(job) for job in runs_in(sweep) if not is_finished(job)}


def failed_jobs(multirun: Path) -> dict[Path, str]:
    """The jobs of any multirun that failed, each with the reason."""
    return {path.parent: _reason(path.parent) for path in sorted(multirun.glob(f"*/{FAILURE}"))}


def _reason(job: Path) -> str:
    with suppress(InputError, KeyError):
        return str((read_json(job, FAILURE) or {})["sentence"])
    return "It was ended before it was done."


def objective_of(config: DictConfig, run: Path) -> float | None:
    """What a sweep optimises, of a finished run: the metric that its best checkpoint was chosen by.

    None where the run has none.
    """
    value = None
    if "callbacks" in config:
        value = read_result(run).get(config.callbacks.checkpoint.monitor)
    return None if value is None else float(value)


def end_sweep(sweep: Path) -> bool:
    """Write and print what came of a sweep; tell whether all of its jobs gave a result."""
    from attention_atlas.analysis.sweeps import print_sweep, write_sweep  # slow to import

    if any(is_finished(job) for job in runs_in(sweep)):
        print_sweep(write_sweep(sweep))
        print(f"sweep folder: {sweep}    next: atlas sweep {sweep}")
    return list_failures(unfinished_jobs(sweep))


def list_failures(failed: Mapping[Path, str]) -> bool:
    """Print what failed; tell whether nothing did."""
    if failed:
        jobs = "1 job" if len(failed) == 1 else f"{len(failed)} jobs"
        print(f"{jobs} gave no result; the same command tries again:", file=sys.stderr)
        for job, reason in failed.items():
            print(f"  {job}: {reason}", file=sys.stderr)
    return not failed
