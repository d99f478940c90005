"""A sweep: its trials, ranked, and what is known of its parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from attention_atlas.analysis.sweeps.jobs import Job, State, find_jobs, is_job, read_job
from attention_atlas.analysis.sweeps.metric import Metric, choose_metric, numbers_of
from attention_atlas.analysis.sweeps.trial import SEED, Trial
from attention_atlas.errors import InputError
from attention_atlas.run_folder import RESULT

if TYPE_CHECKING:
    from attention_atlas.analysis.sweeps.importance import Importance
    from attention_atlas.analysis.sweeps.seeds import Seeds

MULTIRUN = "multirun.yaml"  # Hydra writes it into the folder of a sweep
ORDER = (State.FINISHED, State.PRUNED, State.UNFINISHED, State.FAILED)


@dataclass(frozen=True)
class Sweep:
    """The trials of a sweep.

    Attributes:
        folder: Of the sweep.
        metric: That the trials are ranked by.
        parameters: Names of what differs between the jobs, in the order of the overrides.
        trials: The best first; then those that were pruned, are unfinished, and have failed.
    """

    folder: Path
    metric: Metric
    parameters: list[str]
    trials: list[Trial]

    @property
    def ranked(self) -> list[Trial]:
        """The finished trials that have a value, the best first."""
        return [t for t in self.of_state(State.FINISHED) if t.value is not None]

    @property
    def best(self) -> Trial | None:
        """The best of them; None before any has finished."""
        return next(iter(self.ranked), None)

    @property
    def in_time(self) -> list[Trial]:
        """The trials that have ended, in the order in which they did."""
        ended = [trial for trial in self.trials if trial.ended is not None]
        # Whole seconds: in a copy of a sweep all files have one time, and the names tell more.
        return sorted(ended, key=lambda trial: (int(trial.ended or 0), trial.name))

    def of_state(self, state: State) -> list[Trial]:
        """Return the trials that came this far."""
        return [trial for trial in self.trials if trial.state is state]

    @cached_property
    def seeds(self) -> "Seeds | None":
        """Means over seeds; None where the seed is no parameter."""
        from attention_atlas.analysis.sweeps.seeds import over_seeds

        return over_seeds(self.ranked, self.metric) if SEED in self.parameters else None

    @cached_property
    def importance(self) -> "Importance | str":
        """How much the value depends on each parameter, or a sentence on why that is not known."""
        from attention_atlas.analysis.sweeps.importance import parameter_importance

        return parameter_importance(self.ranked, self.parameters)


def read_sweep(folder: Path, metric: str | None = None) -> Sweep:
    """Read the folder of a sweep, finished or not.

    Args:
        folder: It holds a folder for each job.
        metric: A number of `result.json`; by default the `sweep.metric` of the config of the jobs,
            or else what their checkpoints are chosen by.

    Raises:
        InputError: If it is no folder of a sweep, no job has that number, or it is not known which
            way it is better. Damaged files of a job make it a failed one.
    """
    jobs = [read_job(job) for job in find_jobs_or_say_why_not(folder)]
    chosen = choose_metric(folder, jobs, metric)
    parameters = _what_differs(jobs)
    trials = [_trial(job, chosen, parameters) for job in jobs]
    return Sweep(folder, chosen, parameters, rank(trials, chosen))


def rank(trials: Sequence[Trial], metric: Metric) -> list[Trial]:
    """Sort trials: by how far they came, then by value, the best first, then by name."""

    def key(trial: Trial) -> tuple[int, bool, float, str]:
        has_none = trial.value is None
        value = 0.0 if trial.value is None else metric.key(trial.value)
        return ORDER.index(trial.state), has_none, value, trial.name

    return sorted(trials, key=key)


def find_jobs_or_say_why_not(folder: Path) -> list[Path]:
    """Return the folders of the jobs of a sweep.

    Raises:
        InputError: If there are none; it says what the folder is instead.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{str(folder)!r} {what}: give the folder of a sweep.")
    jobs = find_jobs(folder)
    if jobs:
        return jobs
    if is_job(folder) and (folder.parent / MULTIRUN).exists():
        raise InputError(
            f"{str(folder)!r} is one run of a sweep: give that of all, {str(folder.parent)!r}."
        )
    if is_job(folder):
        raise InputError(
            f"{str(folder)!r} is a single run, no sweep: `atlas list {folder}` tells about it."
        )
    sweeps = [path for path in folder.iterdir() if path.is_dir() and find_jobs(path)]
    if sweeps:
        newest = max(sweeps, key=lambda path: (path.stat().st_mtime, path.name))
        raise InputError(
            f"{str(folder)!r} is no sweep, but holds {len(sweeps)}: the newest is {str(newest)!r}."
        )
    raise InputError(f"{str(folder)!r} holds no folder of a job, so it is no sweep.")


def _what_differs(jobs: Sequence[Job]) -> list[str]:
    """Return the names of options that are not the same in all jobs whose options are known."""
    known = [job.options for job in jobs if job.options is not None]
    names = dict.fromkeys(name for options in known for name in options)
    return [name for name in names if len({options.get(name) for options in known}) > 1]


def _trial(job: Job, metric: Metric, parameters: Sequence[str]) -> Trial:
    numbers, options = numbers_of(job.result), job.options or {}
    value, state, reason = numbers.get(metric.name), job.state, job.reason
    if value is not None and not math.isfinite(value):
        value, state = None, State.FAILED
        reason = f"{metric.name} is {numbers[metric.name]}, which has no rank."
    elif value is None and state is State.FINISHED:
        reason = f"{RESULT} has no {metric.name}."
    seed = numbers.get(SEED, options.get(SEED))
    cpu_seconds = numbers.get("cpu_seconds")
    return Trial(
        folder=job.folder,
        state=state,
        value=value,
        parameters={name: options.get(name) for name in parameters},
        seed=seed if isinstance(seed, int) else None,
        cpu_seconds=cpu_seconds if math.isfinite(cpu_seconds or 0) else None,
        failure=reason,
        ended=job.ended,
    )
