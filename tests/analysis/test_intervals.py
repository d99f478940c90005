"""Intervals against scipy, and against the examples of the papers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attention_atlas.analysis.intervals import (
    Interval,
    difference_of_intervals,
    difference_over_seeds,
    mcnemar_p_value,
    of_accuracy,
    over_seeds,
    paired_accuracy,
)


def test_interval_over_seeds_is_students() -> None:
    values = [0.81, 0.84, 0.86]
    found = over_seeds(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (found.mean, found.runs, found.method) == (pytest.approx(np.mean(values)), 3, "t")
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert over_seeds([0.5]) == Interval(0.5)


def test_interval_of_an_accuracy_is_wilsons() -> None:
    # Newcombe 1998 (Statistics in Medicine 17, 857), table I: 81 of 263.
    found = of_accuracy(81 / 263, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert of_accuracy(1.0, 40).high == pytest.approx(1.0)
    assert of_accuracy(1.0, 40).low < 0.95


def test_difference_over_seeds_is_welchs() -> None:
    first, second = [0.81, 0.84, 0.86], [0.88, 0.89]
    found = difference_over_seeds(first, second)
    expected = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(second) - np.mean(first))
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_difference_without_variance_is_exact() -> None:
    found = difference_over_seeds([7.0, 7.0], [9.0, 9.0])
    assert (found.mean, found.low, found.high) == (2.0, 2.0, 2.0)


def test_difference_of_two_accuracies_is_newcombes() -> None:
    # Newcombe 1998 (Statistics in Medicine 17, 873), table II (a): 56/70 less 48/80, method 10.
    found = difference_of_intervals(of_accuracy(48 / 80, 80), of_accuracy(56 / 70, 70))
    assert found is not None
    assert found.mean == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_without_an_interval_there_is_no_difference() -> None:
    assert difference_of_intervals(Interval(1.0), Interval(2.0, 1.5, 2.5)) is None


def test_an_interval_is_cut_where_there_can_be_nothing() -> None:
    wide = Interval(0.9, 0.6, 1.2, 2, "t")
    assert wide.within(0, 1) == Interval(0.9, 0.6, 1, 2, "t")
    assert Interval(3.6, -4.6, 11.9, 2, "t").within(0, math.inf) == Interval(3.6, 0, 11.9, 2, "t")
    assert wide.within(-math.inf, math.inf) == wide
    assert Interval(0.5).within(0, 1) == Interval(0.5)


@given(fixed=st.integers(0, 60), broken=st.integers(0, 60), same=st.integers(1, 500))
def test_the_paired_interval_and_mcnemars_test_agree(fixed: int, broken: int, same: int) -> None:
    total = fixed + broken + same
    interval = paired_accuracy(fixed, broken, total)
    assert interval.low <= interval.mean <= interval.high
    assert (interval.low <= 0 <= interval.high) == (mcnemar_p_value(fixed, broken) > 0.05)
    mirrored = paired_accuracy(broken, fixed, total)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low))


def test_the_paired_interval_covers_the_true_difference() -> None:
    """Of 400 drawn test sets, about 95 % or more: Clopper and Pearson are conservative."""
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(200, (0.12, 0.06, 0.82), size=400)
    found = [paired_accuracy(int(fixed), int(broken), 200) for fixed, broken, _ in drawn]
    covered = np.mean([each.low <= 0.06 <= each.high for each in found])
    assert 0.93 <= covered <= 0.99
