"""95 % confidence intervals of a mean over seeds, of an accuracy, and of the difference of two."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest, ttest_1samp, ttest_ind

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: Over the runs.
        low: Lower end of the 95 % interval; None without an interval.
        high: Upper end; None without an interval.
        runs: Number of runs.
        method: `t`: over runs that differ in their seed; `Wilson`: of an accuracy, over the samples
            of one run; `bootstrap`: over the samples of one run. Differences have `paired t`: over
            pairs of runs; `McNemar`: of two accuracies on the same samples; `paired bootstrap`:
            over samples; `Welch` and `square-and-add`: of runs that make no pairs. None without an
            interval.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    runs: int = 1
    method: str | None = None

    def within(self, minimum: float, maximum: float) -> "Interval":
        """Return the interval clipped to the range of the quantity."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, minimum), high=min(self.high, maximum))


def over_seeds(values: Sequence[float]) -> Interval:
    """Return the mean of n values with its t interval (Student 1908).

    The values are taken as normally distributed, so that the ends may lie where no value can be
    (see `Interval.within`). One value has no interval.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean)
    if np.ptp(values) == 0:  # where scipy warns of a loss of precision
        return Interval(mean, mean, mean, len(values), "t")
    found = ttest_1samp(values, mean).confidence_interval(CONFIDENCE)
    return Interval(mean, float(found.low), float(found.high), len(values), "t")


def of_accuracy(accuracy: float, num_samples: int) -> Interval:
    """Return an accuracy with its score interval over the samples (Wilson 1927).

    The interval is that of one trained model, and says nothing about another seed.
    """
    correct = round(accuracy * num_samples)
    interval = binomtest(correct, num_samples).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(accuracy, float(interval.low), float(interval.high), 1, "Wilson")


def paired_over_seeds(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return mean(second - first) with the t interval of the differences of pairs of runs."""
    differences = [other - one for one, other in zip(first, second, strict=True)]
    return replace(over_seeds(differences), runs=2 * len(differences), method="paired t")


def paired_accuracy(fixed: int, broken: int, num_samples: int) -> Interval:
    """Return the difference of two accuracies on the same samples, with its exact interval.

    The interval is that of Clopper and Pearson 1934 for the fraction that the second gets right of
    those that only one of the two gets right. So it includes 0 where, and only where, McNemar's
    exact test (`mcnemar_p_value`) does not tell the two apart at the level of 5 %.

    Args:
        fixed: Number of samples that only the second gets right.
        broken: Number of samples that only the first gets right.
        num_samples: Number of all samples.
    """
    mean, different = (fixed - broken) / num_samples, fixed + broken
    if not different:  # the most samples that could differ
        limit = 1 - (1 - CONFIDENCE) ** (1 / num_samples)
        return Interval(mean, -limit, limit, 2, "McNemar")
    ends = binomtest(fixed, different).proportion_ci(CONFIDENCE, method="exact")
    low, high = ((2 * end - 1) * different / num_samples for end in (ends.low, ends.high))
    return Interval(mean, float(low), float(high), 2, "McNemar")


def mcnemar_p_value(fixed: int, broken: int) -> float:
    """Return the p-value of the exact test of fixed against broken predictions (McNemar 1947)."""
    return float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0


def difference_over_seeds(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return mean(second) - mean(first) with the t interval of Welch 1947.

    The variances may differ. Each side needs at least two values.
    """
    mean, runs = float(np.mean(second) - np.mean(first)), len(first) + len(second)
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return Interval(mean, mean, mean, runs, "Welch")
    with warnings.catch_warnings():  # scipy warns where the values of one side are all the same
        warnings.simplefilter("ignore", RuntimeWarning)
        found = ttest_ind(second, first, equal_var=False).confidence_interval(CONFIDENCE)
    return Interval(mean, float(found.low), float(found.high), runs, "Welch")


def difference_of_intervals(first: Interval, second: Interval) -> Interval | None:
    """Return second - first with an interval made from both; None if one has no interval.

    The distances to the ends are added in squares (Zou and Donner 2008). For two Wilson intervals
    this is method 10 of Newcombe 1998, for the difference of two proportions. The two are taken as
    independent.
    """
    ends = (first.low, first.high, second.low, second.high)
    if any(end is None for end in ends):
        return None
    low_1, high_1, low_2, high_2 = (float(end or 0.0) for end in ends)
    mean = second.mean - first.mean
    low = mean - math.hypot(second.mean - low_2, high_1 - first.mean)
    high = mean + math.hypot(high_2 - second.mean, first.mean - low_1)
    return Interval(mean, low, high, first.runs + second.runs, "square-and-add")
