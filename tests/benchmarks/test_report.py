"""What counts as missed, and what the tables and the exit code make of it."""

import pytest

from benchmarks.figures import Comparison, Figure, missed
from benchmarks.report import as_json, exit_code, tables, verdict
from benchmarks.timing import Effort, ratios, take_turns, time_figures

AT_MOST = Comparison("ours", "theirs", at_most=1.03)
AT_LEAST = Comparison("theirs", "ours", at_least=3.5)
FREE = Comparison("ours", "theirs")


def figure(comparison: Comparison, value: float | None, **more: object) -> Figure:
    return Figure("group", "case", comparison, "CPU s", value, **more)


@pytest.mark.parametrize(
    ("comparison", "value", "reached"),
    [
        (AT_MOST, 1.03, True),
        (AT_MOST, 1.0301, False),
        (AT_LEAST, 3.5, True),
        (AT_LEAST, 3.4999, False),
        (AT_MOST, None, False),
        (FREE, 9.0, None),
    ],
)
def test_a_bound_is_kept_to_the_last_digit(comparison, value, reached) -> None:
    measured = figure(comparison, value)
    assert measured.is_reached is reached
    assert missed([measured]) == ([measured] if reached is False else [])
    assert exit_code([measured], check=True) == (1 if reached is False else 0)
    assert exit_code([measured], check=False) == 0


def test_each_miss_is_named() -> None:
    figures = [
        figure(AT_MOST, 1.2),
        figure(AT_LEAST, None, note="not measured: there is no C++ compiler"),
        figure(Comparison("kept", "theirs", at_most=1.1), 1.0),
        figure(FREE, 7.0),
    ]
    said = verdict(figures)
    assert said.startswith("1 of 3 bounds are kept.")
    assert "ours against theirs is 1.200; reach: at most 1.03" in said
    assert "not measured: there is no C++ compiler; reach: at least 3.5" in said
    assert said.count("missed: ") == 2
    assert len(as_json({}, figures)["missed"]) == 2
    assert tables(figures).count("MISSED") == 2


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_times() -> None:
    rounds = [
        {"ours": 2.0, "theirs": 1.0},
        {"ours": 3.0, "theirs": 3.0},
        {"ours": 4.0, "theirs": 8.0},
    ]
    (measured,) = time_figures("group", "case", [FREE], [*rounds, {"theirs": 5.0}], "cpu")
    assert measured.value == 1.0
    assert (measured.low, measured.high) == (0.75, 1.5)
    assert (measured.amount, measured.against_amount) == (3.0, 4.0)
    assert measured.rounds == 3


def test_steps_take_turns_and_only_what_has_a_bound_gets_all_rounds() -> None:
    calls: list[str] = []
    steps = {name: (lambda name=name: calls.append(name)) for name in ("a", "b", "c")}
    comparisons = [Comparison("b", "a", at_most=1e9), Comparison("c", "a")]
    effort = Effort(min_rounds=4, min_unbounded=2, max_rounds=4, extra_seconds=0.0)
    rounds = take_turns(steps, comparisons, "cpu", effort, warm_ups=0)
    assert "".join(calls) == "abc" + "bca" + "ab" + "ba"
    assert [set(one) for one in rounds] == [set("abc"), set("abc"), set("ab"), set("ab")]
    assert len(ratios(rounds, comparisons[0])) == 4
    assert len(ratios(rounds, comparisons[1])) == 2
