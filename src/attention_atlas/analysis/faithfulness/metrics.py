"""Faithfulness metrics of one attribution of one sample, as plain numbers.

Letters of shapes: K tokens that can be removed, F fractions of them. Everything here is about the
class that is explained, p is its probability, and a positive attribution speaks for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, rankdata

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One number per attribution and sample.

    Attributes:
        name: Name in tables and files.
        title: Name in figures and sentences.
        higher_is_better: Whether higher values are better.
        against_random: Whether random attributions show what chance gives. They ignore the model,
            so their similarity under other weights is always 1.
        paper: Its source.
        meaning: Its definition in one sentence.
    """

    name: str
    title: str
    higher_is_better: bool
    paper: str
    meaning: str
    against_random: bool = True


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "comprehensiveness",
            "comprehensiveness",
            True,
            "DeYoung et al. 2020, ERASER",
            "How much p drops without the top tokens, mean over the thresholds.",
        ),
        Metric(
            "sufficiency",
            "sufficiency",
            False,
            "DeYoung et al. 2020, ERASER",
            "How much p drops with the top tokens alone, mean over the thresholds.",
        ),
        Metric(
            "deletion_auc",
            "deletion AUC",
            False,
            "Petsiuk et al. 2018, RISE",
            "Area under p while the tokens are removed, the top ones first.",
        ),
        Metric(
            "insertion_auc",
            "insertion AUC",
            True,
            "Petsiuk et al. 2018, RISE",
            "Area under p while the tokens are put back, the top ones first.",
        ),
        Metric(
            "leave_one_out_correlation",
            "agreement with leave-one-out",
            True,
            "Jain & Wallace 2019",
            "Kendall's tau-b with how much p drops without each token alone.",
        ),
        Metric(
            "gradient_correlation",
            "agreement with the gradient",
            True,
            "Jain & Wallace 2019",
            "Kendall's tau-b with input x gradient.",
        ),
        Metric(
            "randomisation_correlation",
            "likeness under random weights",
            False,
            "Adebayo et al. 2018",
            "Spearman's correlation with the attribution of the same model with new weights: "
            "1 means that the attribution does not depend on what the model has learned.",
            against_random=False,
        ),
    )
}


def ranking(attribution: Values, ties: Values) -> npt.NDArray[np.int64]:
    """Return the tokens [K], sorted from the highest attribution to the lowest.

    `ties` are K numbers that order equal attributions: the same for all methods of a sample, so
    that no method gains by the order of the tokens.
    """
    return np.lexsort((ties, -attribution))


def count_of(fraction: float, num_tokens: int) -> int:
    """Return a fraction of the tokens as a count: rounded half up, and at least one.

    Zero for a fraction of 0, or without tokens.
    """
    if fraction <= 0 or num_tokens == 0:
        return 0
    return min(max(int(fraction * num_tokens + 0.5), 1), num_tokens)


def needed_counts(thresholds: Sequence[float], steps: int, num_tokens: int) -> list[int]:
    """Return the counts of top tokens that the metrics need, between none and all."""
    fractions = [*thresholds, *(step / steps for step in range(1, steps))]
    counts = {count_of(fraction, num_tokens) for fraction in fractions}
    return sorted(counts - {0, num_tokens})


def mean_drop(
    whole: float, curve: Mapping[int, float], thresholds: Sequence[float], num_tokens: int
) -> float:
    """Return the mean over the thresholds of p(whole input) - p(changed input).

    With the top tokens removed this is the comprehensiveness, with all others removed the
    sufficiency: the AOPC of DeYoung 2020. `curve` is p by the number of top tokens that were
    removed, or inserted; thresholds are fractions of the tokens.
    """
    return float(np.mean([whole - curve[count_of(part, num_tokens)] for part in thresholds]))


def area(curve: Mapping[int, float], steps: int, num_tokens: int) -> float:
    """Return the area under p over the fraction of tokens removed, or inserted, by trapezoids.

    The fractions are `steps` equal ones (Petsiuk 2018), each rounded to an integer number of
    tokens. `curve` is p by the number of tokens, none and all among them.
    """
    counts = [count_of(step / steps, num_tokens) for step in range(steps + 1)]
    values = [curve[count] for count in counts]
    return float(np.trapezoid(values, np.array(counts) / max(num_tokens, 1)))


def kendall(first: Values, second: Values) -> float | None:
    """Return Kendall's tau-b of two attributions [K]; 0 where one of them ranks nothing.

    Tokens without a number (NaN) in one of the two are left out; None where fewer than two are
    left, which have no order.
    """
    known = ~(np.isnan(first) | np.isnan(second))
    if known.sum() < 2:
        return None
    tau = float(kendalltau(first[known], second[known]).statistic)
    return 0.0 if np.isnan(tau) else tau


def spearman(first: Values, second: Values) -> float | None:
    """Return Spearman's rank correlation of two attributions [K].

    An attribution that ranks nothing is like itself (1) and unlike all others (0). None where one
    was not measured (NaN), or there are fewer than two tokens, which have no order.
    """
    if len(first) < 2 or np.isnan(first).any() or np.isnan(second).any():
        return None
    if np.array_equal(first, second):
        return 1.0
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Return the mean of the measured values; None if there is none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
