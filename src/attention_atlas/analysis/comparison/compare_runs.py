"""Compare runs: those that differ in the seed alone form a group, with confidence intervals."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from attention_atlas.analysis.comparison.labels import label_groups
from attention_atlas.analysis.comparison.metrics import FAITHFULNESS_PREFIX, describe_quantity
from attention_atlas.analysis.comparison.runs import ComparedRun, read_compared_run
from attention_atlas.analysis.faithfulness.result import bootstrap
from attention_atlas.analysis.intervals import (
    Interval,
    difference_of_intervals,
    difference_over_seeds,
    over_seeds,
    paired_accuracy,
    paired_over_seeds,
)
from attention_atlas.atlas.locations import Location, local_path
from attention_atlas.atlas.schema import plain_json
from attention_atlas.errors import InputError

NUM_RESAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        label: The mechanism, and the options that distinguish it from other groups of its data.
        task: Task of all its runs.
        data: Data set of all its runs.
        runs: The runs, in the order of the arguments.
    """

    label: str
    task: str
    data: str
    runs: list[ComparedRun]

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Mean and interval of each quantity, over the runs that have it, clipped to its range."""
        intervals = {}
        for name in dict.fromkeys(name for run in self.runs for name in run.values):
            described = describe_quantity(name)
            intervals[name] = self.unclipped(name).within(described.minimum, described.maximum)
        return intervals

    @property
    def one_per_seed(self) -> list[ComparedRun]:
        """The runs that count: the first of each seed, and all without a known seed."""
        return _one_per_seed(self.runs)

    @property
    def repeated(self) -> list[ComparedRun]:
        """Runs with the seed of an earlier run, which do not count."""
        return [run for run in self.runs if run not in self.one_per_seed]

    @property
    def num_runs(self) -> int:
        """Number of runs with different seeds."""
        return len(self.one_per_seed)

    def having(self, quantity: str) -> list[ComparedRun]:
        """Return the runs that have a quantity, one for each seed."""
        return _one_per_seed([run for run in self.runs if quantity in run.values])

    def values(self, quantity: str) -> list[float]:
        """Return the values of a quantity, one for each seed that has it."""
        return [run.values[quantity] for run in self.having(quantity)]

    def unclipped(self, quantity: str) -> Interval:
        """Return the interval of a quantity before it is clipped to its range."""
        values = self.values(quantity)
        first = next(run for run in self.runs if quantity in run.values)
        if len(values) == 1 and quantity in first.intervals:
            return first.intervals[quantity]
        return over_seeds(values)


@dataclass(frozen=True)
class Difference:
    """Difference of a quantity between two groups on the same task and data.

    Attributes:
        task: Task of both groups.
        data: Data set of both groups.
        quantity: Name of the quantity.
        first: Label of the first group.
        second: Label of the second group.
        interval: Second minus first.
    """

    task: str
    data: str
    quantity: str
    first: str
    second: str
    interval: Interval

    @property
    def is_tie(self) -> bool:
        """Whether the interval includes 0, so that the data do not distinguish the two."""
        low, high = self.interval.low, self.interval.high
        return low is not None and high is not None and low <= 0 <= high


@dataclass(frozen=True)
class Comparison:
    """Groups of runs and their differences.

    Attributes:
        groups: The groups, in the order of their first runs.
        differences: Differences of each pair of groups on the same task and data, for each
            quantity with an interval in both. With m groups there are m (m - 1) / 2 pairs, and one
            in 20 intervals misses the true value: there is no correction for multiple comparisons.
        notes: Sentences on what the numbers do not show.
    """

    groups: list[Group]
    differences: list[Difference]
    notes: list[str] = field(default_factory=list)

    @property
    def quantities(self) -> list[str]:
        """Names of all quantities of the runs, in the order of tables."""
        return list(dict.fromkeys(name for group in self.groups for name in group.intervals))

    @property
    def tasks(self) -> list[tuple[str, str]]:
        """The distinct pairs of task and data of the groups."""
        return list(dict.fromkeys((group.task, group.data) for group in self.groups))

    def of_task(self, task: str, data: str) -> list[Group]:
        """Return the groups of a task and data."""
        return [group for group in self.groups if (group.task, group.data) == (task, data)]

    def best(self, task: str, data: str, quantity: str) -> list[str]:
        """Return the label of the best group of a task and data, then of those that tie with it.

        There is none where neither direction is better, where there is only one group, or where a
        difference to the best has no interval.
        """
        higher = describe_quantity(quantity).higher_is_better
        groups = [group for group in self.of_task(task, data) if quantity in group.intervals]
        if higher is None or len(groups) < 2:
            return []
        sign = -1 if higher else 1
        groups.sort(key=lambda group: sign * group.intervals[quantity].mean)
        differences = [_difference(groups[0], other, quantity) for other in groups[1:]]
        ties = [
            other.label
            for other, difference in zip(groups[1:], differences, strict=True)
            if difference is not None and difference.is_tie
        ]
        return [groups[0].label, *ties] if None not in differences else []

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        groups = [
            {
                "label": group.label,
                "task": group.task,
                "data": group.data,
                "num_runs": group.num_runs,
                "intervals": {name: asdict(value) for name, value in group.intervals.items()},
                "runs": [_run_to_json(run) for run in group.runs],
            }
            for group in self.groups
        ]
        differences = [
            {**asdict(difference), "is_tie": difference.is_tie} for difference in self.differences
        ]
        content = {"groups": groups, "differences": differences, "notes": self.notes}
        return dict(plain_json(content))


def compare_runs(
    runs: Sequence[Location], progress: Callable[[int, int], None] | None = None
) -> Comparison:
    """Read runs and compare them.

    Runs whose configs differ in the seed alone form a group; an option that is off equals one that
    an older config lacks, and a repeated seed counts once. In a group of two runs or more, each
    quantity has its mean and the t interval over the runs; with one run, accuracy has Wilson's
    interval and faithfulness its bootstrap interval, both over samples.

    Runs that were tested on the same samples are compared as pairs: two groups by the t interval of
    the differences of the runs of one seed, two single runs by the differences of their samples
    (accuracy by the interval that agrees with McNemar's test). Where not all runs have their pair,
    the difference has Welch's interval if both groups have two runs or more, else one made from the
    intervals of the two (see `intervals`). A difference whose interval includes 0 is a tie. All
    intervals are 95 % intervals, clipped to the range of their quantity. There are no differences
    between runs of different tasks or data.

    Args:
        runs: Folders of the runs, paths or URLs, each once.
        progress: Called with the number of runs read, and of all runs.

    Raises:
        InputError: There is no run, one is repeated, or one cannot be read.
    """
    _check(runs)
    found = []
    for done, run in enumerate(runs, start=1):
        found.append(read_compared_run(run))
        if progress is not None:
            progress(done, len(runs))
    groups = _groups(found)
    differences = [
        difference
        for first, second in itertools.combinations(groups, 2)
        if (first.task, first.data) == (second.task, second.data)
        for quantity in first.intervals
        if quantity in second.intervals
        and (difference := _difference(first, second, quantity)) is not None
    ]
    return Comparison(groups, differences, _notes(groups))


def _check(runs: Sequence[Location]) -> None:
    if not runs:
        raise InputError("There is no run to compare: give the folders of two or more.")
    paths = [_absolute(run) for run in runs]
    for run, path in zip(runs, paths, strict=True):
        if paths.count(path) > 1:
            raise InputError(f"The run {str(run)!r} is given twice: give each run once.")


def _absolute(run: Location) -> str:
    """Return the absolute path or the URL of a run."""
    path = local_path(run)
    return str(run).rstrip("/") if path is None else str(path.resolve())


def _groups(runs: list[ComparedRun]) -> list[Group]:
    by_key: dict[str, list[ComparedRun]] = {}
    for run in runs:
        by_key.setdefault(_key(run), []).append(run)
    members = list(by_key.values())
    labels = label_groups([group[0] for group in members])
    return [
        Group(label, group[0].task, group[0].data, group)
        for label, group in zip(labels, members, strict=True)
    ]


def _key(run: ComparedRun) -> str:
    """Return a key that is the same for runs that differ in the seed alone."""
    if run.options is None:
        return _absolute(run.run)
    return json.dumps([run.task, run.data, run.split, run.options], sort_keys=True, default=str)


def _one_per_seed(runs: list[ComparedRun]) -> list[ComparedRun]:
    """Return the first run of each seed, and all runs without a known seed."""
    seeds = [run.seed for run in runs]
    return [run for n, run in enumerate(runs) if run.seed is None or run.seed not in seeds[:n]]


def _difference(first: Group, second: Group, quantity: str) -> Difference | None:
    if quantity.startswith(f"{FAITHFULNESS_PREFIX}.") and len(_settings([first, second])) > 1:
        return None  # measured with different options, so that the numbers are not comparable
    one, other = first.values(quantity), second.values(quantity)
    if not one or not other:
        return None
    interval = _paired(first, second, quantity)
    if interval is None and len(one) > 1 and len(other) > 1:
        interval = difference_over_seeds(one, other)
    if interval is None:
        interval = difference_of_intervals(first.unclipped(quantity), second.unclipped(quantity))
    if interval is None:
        return None
    described = describe_quantity(quantity)
    extent = described.maximum - described.minimum
    interval = interval.within(-extent, extent)
    return Difference(first.task, first.data, quantity, first.label, second.label, interval)


def _paired(first: Group, second: Group, quantity: str) -> Interval | None:
    """Return the interval over pairs of runs; None if not all runs have their pair."""
    one, other = first.having(quantity), second.having(quantity)
    if len(one) == len(other) == 1:
        return _paired_samples(one[0], other[0], quantity)
    by_seed = {run.seed: run for run in other}
    if None in by_seed or {run.seed for run in one} != set(by_seed):
        return None
    pairs = [(run, by_seed[run.seed]) for run in one]
    if not all(_same_samples(*pair, "accuracy") for pair in pairs):
        return None
    return paired_over_seeds(
        [run.values[quantity] for run, _ in pairs], [run.values[quantity] for _, run in pairs]
    )


def _same_samples(first: ComparedRun, second: ComparedRun, quantity: str) -> bool:
    tested = [run.by_sample.get(quantity, {}).keys() for run in (first, second)]
    return bool(tested[0]) and tested[0] == tested[1]


def _paired_samples(first: ComparedRun, second: ComparedRun, quantity: str) -> Interval | None:
    if not _same_samples(first, second, quantity):
        return None
    one, other = first.by_sample[quantity], second.by_sample[quantity]
    differences = np.array([other[sample_id] - value for sample_id, value in one.items()])
    if quantity == "accuracy":
        fixed, broken = int((differences > 0).sum()), int((differences < 0).sum())
        return paired_accuracy(fixed, broken, len(differences))
    estimate = bootstrap(differences, NUM_RESAMPLES, seed=0)
    assert estimate is not None
    return Interval(estimate.mean, estimate.low, estimate.high, 2, "paired bootstrap")


def _settings(groups: list[Group]) -> set[str]:
    """Return the settings that faithfulness was measured with."""
    return {run.settings for group in groups for run in group.runs if run.settings is not None}


def _run_to_json(run: ComparedRun) -> dict[str, Any]:
    values = {**asdict(run), "run": str(run.run)}
    del values["options"], values["by_sample"]
    return values


def _notes(groups: list[Group]) -> list[str]:
    runs = [run for group in groups for run in group.runs]
    notes = [f"{run.run}: {note}" for run in runs for note in run.notes]
    if len({(group.task, group.data) for group in groups}) > 1:
        notes.append(
            "These runs are of different tasks or data: they are listed side by side, and "
            "differences are taken within the same task and data only."
        )
    for group in groups:
        if group.repeated:
            repeated = ", ".join(str(run.run) for run in group.repeated)
            notes.append(
                f"{repeated}: of the same seed and config as a run before, so it counts once."
            )
    for task, data in dict.fromkeys((group.task, group.data) for group in groups):
        settings = _settings([g for g in groups if (g.task, g.data) == (task, data)])
        if len(settings) > 1:
            notes.append(
                f"Faithfulness on {data} was measured in different ways "
                f"({'; '.join(sorted(settings))}), so it is not compared: measure the "
                "runs again with the same options."
            )
    if any(group.num_runs == 1 for group in groups):
        notes.append(
            "Where a run stands alone, intervals are over its test samples: they say nothing about "
            "another seed."
        )
    return notes
