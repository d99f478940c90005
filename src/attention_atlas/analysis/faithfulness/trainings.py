"""Faithfulness over several trainings of one recipe.

An interval over the samples of one model says nothing about the next training, so both are given.
"""

from collections.abc import Sequence

from attention_atlas.analysis.faithfulness.metrics import METRICS
from attention_atlas.analysis.faithfulness.result import BASELINE, Faithfulness
from attention_atlas.analysis.faithfulness.verdict import (
    JUDGED,
    MIN_DIFFERENCE,
    Estimate,
    judgement,
)
from attention_atlas.analysis.intervals import over_seeds
from attention_atlas.errors import InputError

MIN_TRAININGS = 3
"""Number of trainings below which nothing is said about the next one."""

LEGEND = (
    "How much more comprehensiveness a method has than random attributions on the same samples: "
    "over trainings, with the 95 % interval of what another training would give; and of each "
    "training, with the interval over its samples."
)


def over_trainings(measured: Sequence[Faithfulness], metric: str = JUDGED) -> dict[str, Estimate]:
    """Return by method how much more a metric is than that of random attributions.

    Mean over trainings of the means over their samples, with its t interval over the trainings;
    of the methods that were measured in all of them.

    Raises:
        InputError: There are fewer than two, or they were measured with different options.
    """
    if len(measured) < 2:
        raise InputError("An interval over trainings takes two or more of them.")
    settings = sorted({each.settings for each in measured})
    if len(settings) > 1:
        raise InputError(
            f"Faithfulness was measured in different ways ({'; '.join(settings)}): measure the "
            "runs again with the same options."
        )
    methods = [
        method
        for method in measured[0].differences
        if all(metric in each.differences.get(method, {}) for each in measured)
    ]
    found = {}
    for method in methods:
        interval = over_seeds([each.differences[method][metric].mean for each in measured])
        assert interval.low is not None
        assert interval.high is not None
        found[method] = Estimate(interval.mean, interval.low, interval.high, len(measured))
    return found


def verdict_over_trainings(measured: Sequence[Faithfulness]) -> str:
    """Say which methods beat random on comprehensiveness in each training and over them."""
    count = len(measured)
    if count < MIN_TRAININGS:
        return (
            f"{count} trainings are too few to say what another one would show: take "
            f"{MIN_TRAININGS} or more."
        )
    differences = over_trainings(measured)
    better = [method for method in differences if _is_better(method, differences, measured)]
    return f"Over {count} trainings: {judgement(differences, measured[0].titles, better)}."


def trainings_table(
    measured: Sequence[Faithfulness], names: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows: how much more each method is than random, on comprehensiveness.

    A column over all trainings, and one for each, with its interval over samples. The last row is
    random itself, by its own values.

    Args:
        measured: One for each training.
        names: Heading of each training.
    """
    rows = [
        [method, str(overall), *(str(each.differences[method][JUDGED]) for each in measured)]
        for method, overall in over_trainings(measured).items()
    ]
    own = [each.estimates[BASELINE][JUDGED] for each in measured]
    mean = sum(estimate.mean for estimate in own) / len(own)
    rows.append([f"{BASELINE} itself", f"{mean:.2f}", *map(str, own)])
    return ["method", "over trainings", *names], rows


def _is_better(
    method: str, differences: dict[str, Estimate], measured: Sequence[Faithfulness]
) -> bool:
    overall = differences[method]
    is_sure = not overall.low <= 0 <= overall.high and abs(overall.mean) >= MIN_DIFFERENCE
    is_higher = (overall.mean > 0) == METRICS[JUDGED].higher_is_better
    each_is = all(each.better_than_random(method, JUDGED) for each in measured)
    return is_sure and is_higher and each_is
