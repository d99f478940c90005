"""Intervals of 95 %: of a mean over seeds, of an accuracy, and of the difference of two."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest, t

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number, and the interval that it is known to.

    Attributes:
        mean: Over the runs.
        low: Lower end of the interval of 95 %; None where there is none.
        high: Its upper end.
        runs: How many runs it is of.
        method: `t`: over runs that differ in their seed; `Wilson`: of an accuracy, over the samples
            of one run; `bootstrap`: over the samples of one run; None without an interval.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    runs: int = 1
    method: str | None = None

    def within(self, least: float | None, most: float | None) -> "Interval":
        """Return it with ends that are cut where they lie beyond what the number can be."""
        low, high = self.low, self.high
        if low is not None and least is not None:
            low = max(low, least)
        if high is not None and most is not None:
            high = min(high, most)
        return replace(self, low=low, high=high)


def over_seeds(values: Sequence[float]) -> Interval:
    """Return the mean of n values with mean +- t(n - 1) s / sqrt(n) (Student 1908).

    It takes the values of seeds as normally distributed, so that its ends may lie where no value
    can be (see `Interval.within`). One value has no interval.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = _t_quantile(len(values) - 1) * error
    return Interval(mean, mean - half, mean + half, len(values), "t")


def of_accuracy(accuracy: float, num_samples: int) -> Interval:
    """Return an accuracy with its score interval over the samples (Wilson 1927).

    It says how well one trained model was measured, and nothing about another seed.
    """
    correct = round(accuracy * num_samples)
    interval = binomtest(correct, num_samples).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(accuracy, float(interval.low), float(interval.high), 1, "Wilson")


def difference_over_seeds(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return mean(second) - mean(first) with the t interval of Welch 1947.

    The variances may differ; the degrees of freedom are those of Welch and Satterthwaite. Each side
    has two values at least. Runs are not paired by their seed.
    """
    mean = float(np.mean(second) - np.mean(first))
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    error = sum(parts)
    if error == 0:
        return Interval(mean, mean, mean, len(first) + len(second), "Welch")
    freedom = error**2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    half = _t_quantile(freedom) * math.sqrt(error)
    return Interval(mean, mean - half, mean + half, len(first) + len(second), "Welch")


def difference_of_intervals(first: Interval, second: Interval) -> Interval | None:
    """Return second - first with an interval made of those of the two; None where one has none.

    The distances to the ends are added by squares (Zou and Donner 2008). For two Wilson intervals
    that is method 10 of Newcombe 1998, for the difference of two proportions. It takes the two as
    independent; runs tested on the same samples mostly agree, so it is wide rather than narrow.
    """
    ends = (first.low, first.high, second.low, second.high)
    if any(end is None for end in ends):
        return None
    low_1, high_1, low_2, high_2 = (float(end or 0.0) for end in ends)
    mean = second.mean - first.mean
    low = mean - math.hypot(second.mean - low_2, high_1 - first.mean)
    high = mean + math.hypot(high_2 - second.mean, first.mean - low_1)
    return Interval(mean, low, high, first.runs + second.runs, "square-and-add")


def _t_quantile(freedom: float) -> float:
    return float(t.ppf(0.5 + CONFIDENCE / 2, freedom))
