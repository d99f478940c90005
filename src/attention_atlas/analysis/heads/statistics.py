"""Statistics of every head over the samples of an atlas.

Entropies and weights of the null key are stored for every sample; the rest is computed from the
full maps, one sample at a time. With a null key this includes the relative entropy of the layers,
which does not follow from the stored statistics.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.analysis.heads import per_sample
from attention_atlas.analysis.heads.per_sample import (
    INPUT_UNITS,
    Moments,
    distances_between,
    input_positions,
    token_positions,
)
from attention_atlas.atlas import Atlas, Sample
from attention_atlas.atlas.schema import plain_json

SINK_THRESHOLD = 0.3  # epsilon of Gu et al. 2024

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Described:
    """Description of a statistic for tables and figures."""

    title: str
    unit: str
    meaning: str


STATISTICS: dict[str, Described] = {
    "entropy": Described(
        "entropy", "nats", "entropy of a row, mean over the queries; without the term of a null key"
    ),
    "relative_entropy": Described(
        "relative entropy",
        "",
        "entropy over log K, that of K equal weights: from 0, one key, to 1, uniform; with a null "
        "key that of a row divided by its sum",
    ),
    "maximum": Described("maximum", "", "largest weight of a row, mean over the queries"),
    "distance_tokens": Described(
        "distance", "tokens", "expected distance from a query to what it attends to"
    ),
    "distance_characters": Described("distance", "characters", "the same between span centres"),
    "distance_pixels": Described("distance", "pixels", "the same between patch centres"),
    "distance_seconds": Described("distance", "seconds", "the same between box centres"),
    "sink_score": Described(
        "sink score", "", "mean attention received by the key that receives most"
    ),
    "sink_rate": Described(
        "sink rate", "", f"fraction of samples whose sink score is above {SINK_THRESHOLD}"
    ),
    "null_share": Described("null share", "", "weight of the null key, mean over the queries"),
}
"""Every statistic, in the order of tables; which ones an atlas has depends on its arrays."""


@dataclass(frozen=True)
class HeadStatistics:
    """Means and deviations over samples, of each head.

    Attributes:
        layers: Names of the L layers.
        mean: By name of the statistic, [L, H].
        deviation: Standard deviation over samples, by name, [L, H].
        num_samples: Samples that each statistic is of, by name.
        readout_mean: By name, [R], of the row of the readout's query; empty where the readout has
            no attention. The query has no position, so there is no distance.
        readout_deviation: By name, [R].
        epoch: Epoch of the samples.
        notes: Sentences on what the numbers do not say.
    """

    layers: list[str]
    mean: dict[str, npt.NDArray[np.float64]]
    deviation: dict[str, npt.NDArray[np.float64]]
    num_samples: dict[str, int]
    readout_mean: dict[str, npt.NDArray[np.float64]]
    readout_deviation: dict[str, npt.NDArray[np.float64]]
    epoch: int
    notes: list[str] = field(default_factory=list)

    def overall(self) -> dict[str, float]:
        """Return the mean over all layers and heads of each statistic that is known of them all."""
        return _known_means(self.mean)

    def overall_readout(self) -> dict[str, float]:
        """Return the mean over the heads of the readout of each statistic that is known."""
        return _known_means(self.readout_mean)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "epoch": self.epoch,
            "layers": self.layers,
            "statistics": {
                name: {
                    "unit": STATISTICS[name].unit,
                    "meaning": STATISTICS[name].meaning,
                    "num_samples": self.num_samples[name],
                    "mean": plain_json(self.mean[name]),
                    "deviation": plain_json(self.deviation[name]),
                }
                for name in self.mean
            },
            "readout": {
                name: {
                    "mean": plain_json(self.readout_mean[name]),
                    "deviation": plain_json(self.readout_deviation[name]),
                }
                for name in self.readout_mean
            },
            "notes": self.notes,
        }


def _known_means(values: dict[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    means = {name: float(np.mean(value)) for name, value in values.items() if value.size}
    return {name: mean for name, mean in means.items() if not np.isnan(mean)}


def head_statistics(
    atlas: Atlas, epoch: int | None = None, progress: Progress | None = None
) -> HeadStatistics:
    """Return statistics of every head over the samples of an epoch, by default the last.

    A row of signed weights counts as abs(A) / sum abs(A); one with a null key sums to 1 minus its
    weight. Keys outside a window have the weight 0. The entropies are those that the run recorded,
    over all queries or `capture.entropy_queries` of them. Each statistic is the mean over the
    samples of its mean over the queries of a sample.

    The relative entropy is the entropy over log K. With a null key it is that of the rows divided
    by their sums, so that it does not depend on the weight of the null key: for the layers it is
    computed from the full maps, over the queries that attend to any other key. Samples of one
    token have none (0 / 0), and are left out of it.

    `progress` is called with steps done, and all: a sample is one, and its maps are another. Raises
    InputError if there is no such epoch, or the atlas is damaged.
    """
    samples = list(atlas.samples(epoch))
    of_heads: dict[str, Moments] = {}
    of_readout: dict[str, Moments] = {}
    has_layers = bool(atlas.layers)
    steps = len(samples) + sum(sample.has_maps for sample in samples) * has_layers
    done = 0
    for done, sample in enumerate(samples, start=1):
        _add(of_heads, _recorded(sample))
        _add(of_readout, _of_readout(sample))
        if progress is not None:
            progress(done, steps)
    has_null_key = atlas.attributes.has_null_key
    distances = _Distances(atlas.attributes.token_layout)
    for batch, maps in atlas.iter_maps(epoch) if has_layers else ():
        for sample, own in zip(batch, maps, strict=True):
            rows = per_sample.as_fractions(own, sample.signed)
            _add(of_heads, _from_maps(rows, sample, distances, has_null_key))
        done += len(batch)
        if progress is not None:
            progress(done, steps)
    heads = {name: of_heads[name] for name in STATISTICS if name in of_heads}
    readout = {name: of_readout[name] for name in STATISTICS if name in of_readout}
    return HeadStatistics(
        layers=atlas.layers,
        mean={name: moments.mean for name, moments in heads.items()},
        deviation={name: moments.deviation for name, moments in heads.items()},
        num_samples={name: int(moments.count.max(initial=0)) for name, moments in heads.items()},
        readout_mean={name: moments.mean for name, moments in readout.items()},
        readout_deviation={name: moments.deviation for name, moments in readout.items()},
        epoch=samples[0].epoch,
        notes=_notes(atlas, samples, heads),
    )


def _add(moments: dict[str, Moments], values: dict[str, npt.NDArray[Any]]) -> None:
    for name, value in values.items():
        moments.setdefault(name, Moments(value.shape)).add(value)


def _recorded(sample: Sample) -> dict[str, npt.NDArray[Any]]:
    """Return the statistics that are stored for every sample, [L, H]."""
    entropy, null_share = sample.entropy, sample.null_share
    if null_share is None:
        return {"entropy": entropy, "relative_entropy": _relative(entropy, sample.length)}
    # The entropy of a row divided by its sum s is (its entropy + s log s) / s, which
    # does not follow from the recorded means over the queries; it is computed from full maps.
    unknown = np.full(entropy.shape, np.nan)
    return {"entropy": entropy, "relative_entropy": unknown, "null_share": null_share}


def _of_readout(sample: Sample) -> dict[str, npt.NDArray[Any]]:
    """Return the statistics of the readout row, [R]."""
    rows = per_sample.as_fractions(sample.readout, sample.signed)
    if not len(rows):
        return {}
    entropy, null_share = sample.readout_entropy, sample.readout_null_share
    of_others = entropy if null_share is None else per_sample.entropy_of_fractions(rows)
    found = {
        "entropy": entropy,
        "relative_entropy": _relative(of_others, sample.length),
        "maximum": rows.max(axis=-1, initial=0),
    }
    return found if null_share is None else found | {"null_share": null_share}


class _Distances:
    """Distances between the tokens of a sample, cached because most images share their tokens."""

    def __init__(self, token_layout: str) -> None:
        self._layout = token_layout
        self._boxes: npt.NDArray[Any] = np.zeros((0, 2))
        self._found: dict[str, npt.NDArray[np.float32]] = {}

    def of(self, boxes: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
        """Return [K, K] by name of the statistic."""
        if not self._found or not np.array_equal(boxes, self._boxes, equal_nan=True):
            in_input = input_positions(boxes, self._layout)
            self._boxes = boxes
            self._found = {
                "distance_tokens": distances_between(token_positions(boxes)),
                f"distance_{INPUT_UNITS[self._layout]}": distances_between(in_input),
            }
        return self._found


def _from_maps(
    maps: per_sample.Maps, sample: Sample, distances: _Distances, has_null_key: bool
) -> dict[str, npt.NDArray[Any]]:
    """Return the statistics that are computed from the maps, [L, H]."""
    score = per_sample.sink_score(maps)
    found = {name: per_sample.distance(maps, d) for name, d in distances.of(sample.boxes).items()}
    found |= {
        "maximum": per_sample.maximum(maps),
        "sink_score": score,
        "sink_rate": (score > SINK_THRESHOLD).astype(np.float32),
    }
    if has_null_key:
        found["relative_entropy"] = _relative(per_sample.entropy(maps), sample.length)
    return found


def _relative(entropy: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """Return the entropy of rows that sum to 1, divided by log K; NaN for one key."""
    return entropy / np.log(length) if length > 1 else np.full(entropy.shape, np.nan)


def _notes(atlas: Atlas, samples: list[Sample], heads: dict[str, Moments]) -> list[str]:
    if not atlas.layers:
        return ["The encoder has no layers, so there are no heads but those of the readout."]
    notes = []
    has_null_key = atlas.attributes.has_null_key
    if "maximum" not in heads:
        entropy = "relative entropy, " if has_null_key else ""
        notes.append(
            f"No sample has full maps, so {entropy}maximum, distance and sink score are not "
            "known: record them with capture=full."
        )
    mapped = [sample for sample in samples if sample.has_maps]
    short = sum(sample.length < 1 / SINK_THRESHOLD for sample in mapped)
    if short and not has_null_key:
        notes.append(
            f"Samples of 3 tokens or fewer, {short} of {len(mapped)} with full maps, have a sink "
            f"score above {SINK_THRESHOLD} whatever a head does."
        )
    if atlas.attributes.mechanism.get("window"):
        notes.append(
            "The relative entropy is measured against all keys; within its window a head cannot "
            "reach 1."
        )
    if atlas.attributes.signed:
        notes.append("Weights are signed: the statistics are of abs(A) / sum abs(A).")
    return notes
