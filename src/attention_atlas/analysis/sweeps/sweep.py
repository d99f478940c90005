"""A sweep: its ranked trials, and what is known about its parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from attention_atlas.analysis.sweeps.metric import Metric, choose_metric
from attention_atlas.analysis.sweeps.trial import (
    SEED,
    State,
    Trial,
    Value,
    read_trial,
)
from attention_atlas.errors import InputError
from attention_atlas.run_folder import MULTIRUN, RESULT, is_job, runs_in

if TYPE_CHECKING:
    from attention_atlas.analysis.sweeps.importance import Importance


@dataclass(frozen=True)
class Setting:
    """Parameters that several seeds were tried with.

    Attributes:
        parameters: All parameters except the seed.
        mean: Mean over the seeds.
        deviation: Standard deviation over the seeds (n - 1); None with a single seed.
        num_seeds: Number of finished seeds.
    """

    parameters: dict[str, Value | None]
    mean: float
    deviation: float | None
    num_seeds: int


@dataclass(frozen=True)
class Sweep:
    """The trials of a sweep.

    Attributes:
        folder: Folder of the sweep.
        metric: The metric that the trials are ranked by.
        parameters: Names of the overrides that differ between jobs, in the order of the overrides.
        trials: The best first; then pruned, unfinished and failed ones.
    """

    folder: Path
    metric: Metric
    parameters: list[str]
    trials: list[Trial]

    @property
    def ranked(self) -> list[Trial]:
        """The finished trials with a value, the best first."""
        return [t for t in self.of_state(State.FINISHED) if t.value is not None]

    @property
    def best(self) -> Trial | None:
        """The best trial; None before any has finished."""
        return next(iter(self.ranked), None)

    @property
    def in_time(self) -> list[Trial]:
        """The ended trials, in the order in which they ended."""
        ended = [trial for trial in self.trials if trial.ended is not None]
        # Whole seconds: in a copy of a sweep all files have one time, and the names tell more.
        return sorted(ended, key=lambda trial: (int(trial.ended or 0), trial.name))

    def of_state(self, state: State) -> list[Trial]:
        """Return the trials in this state."""
        return [trial for trial in self.trials if trial.state is state]

    @cached_property
    def settings(self) -> list[Setting] | None:
        """Means over seeds, the best first; None where the seed is not a parameter."""
        if SEED not in self.parameters:
            return None
        values: dict[tuple[tuple[str, Value | None], ...], list[float]] = {}
        for trial in self.ranked:
            setting = tuple(item for item in trial.parameters.items() if item[0] != SEED)
            values.setdefault(setting, []).append(trial.value or 0.0)
        settings = [
            Setting(dict(each), fmean(found), stdev(found) if len(found) > 1 else None, len(found))
            for each, found in values.items()
        ]
        order = self.metric.sort_key
        return sorted(settings, key=lambda each: (order(each.mean), str(each.parameters)))

    @property
    def spread_of_seeds(self) -> float | None:
        """Standard deviation of seeds within a setting, pooled over settings with two or more."""
        several = [each for each in self.settings or () if each.deviation is not None]
        freedom = sum(each.num_seeds - 1 for each in several)
        squares = sum((each.num_seeds - 1) * (each.deviation or 0) ** 2 for each in several)
        return (squares / freedom) ** 0.5 if freedom else None

    @cached_property
    def importance(self) -> "Importance | str":
        """Importance of each parameter, or a message on why it is unknown."""
        from attention_atlas.analysis.sweeps.importance import parameter_importance

        return parameter_importance(self.ranked, self.parameters)


def read_sweep(folder: Path, metric: str | None = None) -> Sweep:
    """Read the folder of a sweep, finished or not.

    Args:
        folder: Folder with a folder for each job.
        metric: Key of a number in `result.json`; by default the `sweep.metric` of the config of
            the jobs, or else the metric that their checkpoints are chosen by.

    Raises:
        InputError: The folder is not that of a sweep, no job has that number, or its better
            direction is unknown. Damaged files of a job only make it a failed one.
    """
    trials = [read_trial(job) for job in _jobs_of_sweep(folder)]
    chosen = choose_metric(folder, trials, metric)
    parameters = _what_differs(trials)
    trials = [_with_value(trial, chosen, parameters) for trial in trials]
    return Sweep(folder, chosen, parameters, _rank(trials, chosen))


def _rank(trials: Sequence[Trial], metric: Metric) -> list[Trial]:
    """Sort trials by state, then by value, the best first, then by name."""

    def key(trial: Trial) -> tuple[int, float, str]:
        value = math.inf if trial.value is None else metric.sort_key(trial.value)
        return list(State).index(trial.state), value, trial.name

    return sorted(trials, key=key)


def _jobs_of_sweep(folder: Path) -> list[Path]:
    """Return the folders of the jobs of a sweep.

    Raises:
        InputError: There are none; the message says what the folder is instead.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{str(folder)!r} {what}: give the folder of a sweep.")
    jobs = runs_in(folder)
    if jobs:
        return jobs
    if is_job(folder) and (folder.parent / MULTIRUN).exists():
        raise InputError(
            f"{str(folder)!r} is one run of a sweep: give that of all, {str(folder.parent)!r}."
        )
    if is_job(folder):
        raise InputError(
            f"{str(folder)!r} is a single run, not a sweep: `atlas list {folder}` describes it."
        )
    sweeps = [path for path in folder.iterdir() if path.is_dir() and runs_in(path)]
    if sweeps:
        newest = max(sweeps, key=lambda path: (path.stat().st_mtime, path.name))
        raise InputError(
            f"{str(folder)!r} is not a sweep, but holds {len(sweeps)}: the newest is "
            f"{str(newest)!r}."
        )
    raise InputError(f"{str(folder)!r} holds no folder of a job, so it is not a sweep.")


def _what_differs(trials: Sequence[Trial]) -> list[str]:
    """Return the names of overrides that are not the same in all trials with known overrides."""
    known = [trial.overrides for trial in trials if trial.overrides is not None]
    names = dict.fromkeys(name for overrides in known for name in overrides)
    return [name for name in names if len({overrides.get(name) for overrides in known}) > 1]


def _with_value(trial: Trial, metric: Metric, parameters: Sequence[str]) -> Trial:
    """Return a trial with its value of the metric and its parameters."""
    overrides = trial.overrides or {}
    trial = replace(trial, parameters={name: overrides.get(name) for name in parameters})
    value = trial.numbers.get(metric.name)
    if value is not None and not math.isfinite(value):
        reason = f"{metric.name} is {value}, which has no rank."
        return replace(trial, state=State.FAILED, failure=reason)
    if value is None and trial.state is State.FINISHED:
        return replace(trial, failure=f"{RESULT} has no {metric.name}.")
    return replace(trial, value=value)
