"""Faithfulness of attribution methods as measured: estimates, JSON, and a verdict in words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm as normal
from scipy.stats import t as student

from attention_atlas.analysis.faithfulness.metrics import METRICS
from attention_atlas.analysis.faithfulness.verdict import (
    JUDGED,
    MIN_DIFFERENCE,
    Estimate,
    judgement,
)
from attention_atlas.atlas.locations import Location, join
from attention_atlas.atlas.schema import MAX_INTEGER, check_types
from attention_atlas.errors import InputError
from attention_atlas.run_folder import FAITHFULNESS, read_json

FORMAT = 1
MAX_RESAMPLES = 100_000
CONFIDENCE = 0.95
BASELINE = "random"
MIN_SAMPLES_TO_JUDGE = 5
"""Number of samples below which an interval is too uncertain to judge a method."""


@dataclass(frozen=True)
class Faithfulness:
    """Metrics of attribution methods on samples of one model.

    Attributes:
        removal: How tokens were removed.
        removal_description: What replaced them.
        sample_ids: [N].
        values: By method and metric, [N] numbers; None if not measured.
        titles: Titles of the methods, for figures and sentences.
        thresholds: Thresholds of comprehensiveness and sufficiency, as fractions of the tokens.
        steps: Number of steps of deletion and insertion.
        seed: Seed of everything random.
        num_resamples: Number of resamples of the bootstrap.
        random_draws: Random attributions of each sample, whose scores are averaged.
        randomisation: By method and stage, the rank correlation of an attribution with that of the
            model with new weights from the output down to this stage, mean over the samples.
        refused: Methods that do not apply, and why.
        notes: Sentences that say what was left out, and why.
        num_forward_passes: Number of inputs of the model for the removals.
    """

    removal: str
    removal_description: str
    sample_ids: list[str]
    values: dict[str, dict[str, list[float | None]]]
    titles: dict[str, str]
    thresholds: list[float]
    steps: int
    seed: int = 0
    num_resamples: int = 1000
    random_draws: int = 1
    randomisation: dict[str, dict[str, float]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    num_forward_passes: int = 0

    @property
    def methods(self) -> list[str]:
        """The methods that were measured, in order."""
        return list(self.values)

    @property
    def settings(self) -> str:
        """The options that make two measurements comparable, in words."""
        thresholds = ", ".join(f"{100 * part:g} %" for part in self.thresholds)
        return (
            f"removal {self.removal}, thresholds {thresholds}, {self.steps} steps, "
            f"{len(self.sample_ids)} samples"
        )

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """By method and metric, the mean over the samples."""
        return {
            method: {
                metric: estimate
                for metric, values in metrics.items()
                if (estimate := self._estimate(_numbers(values))) is not None
            }
            for method, metrics in self.values.items()
        }

    @cached_property
    def differences(self) -> dict[str, dict[str, Estimate]]:
        """By method and metric, how much more it is than that of random, sample by sample."""
        baseline = self.values.get(BASELINE, {})
        return {
            method: {
                metric: estimate
                for metric, values in metrics.items()
                if metric in baseline
                and METRICS[metric].against_random
                and (estimate := self._estimate(_numbers(values) - _numbers(baseline[metric])))
                is not None
            }
            for method, metrics in self.values.items()
            if method != BASELINE
        }

    def _estimate(self, values: npt.NDArray[np.float64]) -> Estimate | None:
        return bootstrap(values, self.num_resamples, self.seed)

    def better_than_random(self, method: str, metric: str) -> bool | None:
        """Return whether a method is better than random (True), worse (False), or neither (None).

        A difference below the printed precision counts as neither.
        """
        difference = self.differences.get(method, {}).get(metric)
        if difference is None or difference.num_samples < MIN_SAMPLES_TO_JUDGE:
            return None
        if difference.low <= 0 <= difference.high or abs(difference.mean) < MIN_DIFFERENCE:
            return None
        return (difference.mean > 0) == METRICS[metric].higher_is_better

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per method and metric, for a table."""
        return [
            {"method": method, "metric": metric}
            | asdict(estimate)
            | _of_difference(self.differences.get(method, {}).get(metric))
            for method, metrics in self.estimates.items()
            for metric, estimate in metrics.items()
        ]

    def scores(self, sample_id: str, metric: str = "comprehensiveness") -> dict[str, float]:
        """Return the metric of one sample by method; InputError if it was not measured."""
        if sample_id not in self.sample_ids:
            raise InputError(f"Faithfulness was not measured on the sample {sample_id!r}.")
        index = self.sample_ids.index(sample_id)
        return {
            method: value
            for method, metrics in self.values.items()
            if (value := metrics.get(metric, [None] * (index + 1))[index]) is not None
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain containers: all measurements, with the estimates and the verdict to read."""
        return {
            "format": FORMAT,
            "verdict": verdict(self),
            "summary": self.rows(),
            **asdict(self),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Faithfulness":
        """Build a result from the content of `to_json`.

        Raises InputError if it is something else, or of a newer version.
        """
        if content.get("format") != FORMAT:
            raise InputError(
                f"This is not a faithfulness result of format {FORMAT}: its format is "
                f"{content.get('format')!r}. Measure again with this version."
            )
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        try:
            check_types(cls, known)
            result = cls(**known)
        except (TypeError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise InputError(f"This is not a complete faithfulness result: {reason}.") from None
        result._check_values()
        return result

    def _check_values(self) -> None:
        of_samples = [row for metrics in self.values.values() for row in metrics.values()]
        metrics = {name for metrics in self.values.values() for name in metrics}
        fits = all(len(row) == len(self.sample_ids) for row in of_samples)
        if not (fits and metrics <= METRICS.keys() and 0 < self.num_resamples <= MAX_RESAMPLES):
            raise InputError(
                "This is not a faithfulness result: its values are not those of its samples and "
                "known metrics, or its number of resamples is beyond measure."
            )
        if not 0 <= self.seed < MAX_INTEGER:
            raise InputError(f"This is not a faithfulness result: its seed is {self.seed}.")


def read_faithfulness(run: Location) -> Faithfulness | None:
    """Return the result of `atlas faithfulness` in a run folder; None if it was not measured.

    Raises:
        InputError: The file is damaged or of a newer version; it names the file.
    """
    content = read_json(run, FAITHFULNESS)
    if content is None:
        return None
    try:
        return Faithfulness.from_json(content)
    except InputError as error:
        raise InputError(f"{join(run, FAITHFULNESS)} cannot be read: {error}") from error


def bootstrap(values: npt.NDArray[np.float64], num_resamples: int, seed: int) -> Estimate | None:
    """Return the mean of values [N] with its bootstrap interval (Efron 1979); None if empty.

    The percentiles are those of the expanded percentile interval (Hesterberg 2015, section 5.3),
    which is as much wider as the t interval of few samples is. Values that are missing (NaN) are
    left out. The seed makes resamples that are the same for all methods.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    generator = np.random.default_rng(seed)
    resampled = generator.integers(len(known), size=(num_resamples, len(known)))
    size = len(known)
    edge = 0.0
    if size > 1:
        quantile = student.ppf((1 - CONFIDENCE) / 2, size - 1) * np.sqrt(size / (size - 1))
        edge = 100 * float(normal.cdf(quantile))
    low, high = np.percentile(known[resampled].mean(axis=1), [edge, 100 - edge])
    return Estimate(float(known.mean()), float(low), float(high), len(known))


def _numbers(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _of_difference(difference: Estimate | None) -> dict[str, float | None]:
    names = ("difference", "difference_low", "difference_high")
    if difference is None:
        return dict.fromkeys(names)
    return dict(zip(names, (difference.mean, difference.low, difference.high), strict=True))


def verdict(faithfulness: Faithfulness) -> str:
    """Say which methods beat random on comprehensiveness, by how much, and which were refused."""
    differences = {
        method: metrics[JUDGED]
        for method, metrics in faithfulness.differences.items()
        if JUDGED in metrics
    }
    better = [each for each in differences if faithfulness.better_than_random(each, JUDGED)]
    sentences = [judgement(differences, faithfulness.titles, better)]
    if faithfulness.refused:
        reasons = [reason.rstrip(".") for reason in faithfulness.refused.values()]
        sentences.append(f"Not measured: {'; '.join(reasons)}")
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences)
