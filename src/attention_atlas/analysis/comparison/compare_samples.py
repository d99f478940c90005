"""Compare two runs sample by sample: divergence of their maps, and changed predictions."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from attention_atlas.analysis.comparison.token_alignment import (
    Pieces,
    common_pieces,
    same_boxes,
    spread,
)
from attention_atlas.analysis.heads.similarity import MAX_ROWS, distributions, jensen_shannon
from attention_atlas.analysis.intervals import Interval, mcnemar_p_value, paired_accuracy
from attention_atlas.atlas import Atlas, Sample
from attention_atlas.atlas.schema import plain_json
from attention_atlas.errors import InputError

CHANGES = ("same", "fixed", "broken", "changed")


@dataclass(frozen=True)
class SampleDifference:
    """One sample in two runs.

    Attributes:
        sample_id: Id of the sample in both runs.
        label: Name of the true class.
        first: Name of the class that the first run predicts.
        second: Name of the class that the second run predicts.
        change: `same` prediction; `fixed`: the first was wrong and the second is right; `broken`:
            the other way round; `changed`: from one wrong class to another.
        readout: Divergence of the readout rows, mean over heads, in bits; None if one lacks them.
        layers: Divergence of the maps of each layer, mean over heads; None without maps in both.
    """

    sample_id: str
    label: str
    first: str
    second: str
    change: str
    readout: float | None = None
    layers: list[float] | None = None

    @property
    def divergence(self) -> float | None:
        """Divergence of the readout rows, or else of the maps, mean over layers, in bits."""
        if self.readout is not None:
            return self.readout
        return float(np.mean(self.layers)) if self.layers else None


@dataclass(frozen=True)
class HeadMatch:
    """A head of the first run, its match in the second, and their divergence in bits."""

    first: int
    second: int
    divergence: float


@dataclass(frozen=True)
class SampleComparison:
    """Two runs, sample by sample. All divergences are Jensen-Shannon, in bits.

    Attributes:
        first: Location of an atlas.
        second: Location of the other.
        samples: Samples in both, in the order of the first.
        only_first: Number of samples that the second lacks.
        only_second: Number of samples that the first lacks.
        layers: Mean divergence of each layer; empty where maps could not be compared.
        num_mapped: Number of samples whose maps were compared.
        matches: Matched heads of each layer.
        notes: Sentences on what was not compared, and why.
    """

    first: str
    second: str
    samples: list[SampleDifference]
    only_first: int
    only_second: int
    layers: list[float]
    num_mapped: int
    matches: list[list[HeadMatch]]
    notes: list[str] = field(default_factory=list)

    @property
    def readout(self) -> float | None:
        """Mean divergence of the readout rows; None without readouts."""
        known = [sample.readout for sample in self.samples if sample.readout is not None]
        return float(np.mean(known)) if known else None

    @property
    def changes(self) -> dict[str, int]:
        """Number of samples with each of `CHANGES`."""
        counts = Counter(sample.change for sample in self.samples)
        return {change: counts[change] for change in CHANGES}

    @property
    def p_value(self) -> float:
        """p-value of the exact McNemar test of fixed against broken predictions."""
        return mcnemar_p_value(self.changes["fixed"], self.changes["broken"])

    @property
    def accuracy_difference(self) -> Interval:
        """Accuracy of the second minus that of the first, on the samples in both."""
        changes = self.changes
        return paired_accuracy(changes["fixed"], changes["broken"], len(self.samples))

    def most_different(self, count: int = 10) -> list[SampleDifference]:
        """Return the samples with the largest divergence."""
        known = [(each.divergence, each) for each in self.samples if each.divergence is not None]
        known.sort(key=lambda pair: (-pair[0], pair[1].sample_id))
        return [sample for _, sample in known[:count]]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = {
            "readout": self.readout,
            "changes": self.changes,
            "accuracy_difference": asdict(self.accuracy_difference),
            "p_value": self.p_value,
        }
        return dict(plain_json(asdict(self) | found))


def why_not_samples(first: Atlas, second: Atlas) -> str | None:
    """Return why two atlases cannot be compared sample by sample; None if they can."""
    for what in ("task", "data", "classes"):
        one, other = getattr(first, what), getattr(second, what)
        if one != other:
            return (
                f"Samples are not compared, because the {what} of the runs "
                f"{'differ' if what == 'classes' else 'differs'}: "
                f"{_shown(one)} and {_shown(other)}."
            )
    if first.attributes.token_layout != second.attributes.token_layout:
        return (
            "Samples are not compared, because tokens stand for different things in the two runs."
        )
    if not set(first.sample_ids) & set(second.sample_ids):
        return "Samples are not compared, because no sample is in both runs."
    return None


def compare_samples(
    first: Atlas,
    second: Atlas,
    max_rows: int | None = MAX_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> SampleComparison:
    """Compare the last epochs of two atlases sample by sample, where ids agree.

    Rows are compared by the Jensen-Shannon divergence in bits (0: equal, 1: no key in common). The
    weight of a null key is a key of its own, and signed weights become abs(A) / sum abs(A). Heads
    of two runs do not correspond, so the mean over heads is compared for each layer and for the
    readout. Separately, the heads of each layer are matched by the Hungarian method (Kuhn 1955),
    which minimizes the sum of the divergences of the pairs, mean over rows and samples.

    Where the two runs cut a sample into different tokens, both are spread over the pieces between
    the edges of all tokens (see `token_alignment`), and rows of queries that cover the same piece
    are compared; so a weight that only moved from a word to its syllables is not a difference.
    Texts that differ, and images of different sizes, are left out.

    Args:
        first: An atlas.
        second: An atlas of the same task, data and classes.
        max_rows: Number of evenly spaced rows of each map to compare, None for all.
        progress: Called with the number of samples compared, and of all.

    Raises:
        InputError: The two cannot be compared (the message of `why_not_samples`), or the labels of
            a sample differ.
    """
    reason = why_not_samples(first, second)
    if reason is not None:
        raise InputError(reason)
    comparing = _Comparing(first, second, max_rows)
    others = {sample.sample_id: sample for sample in second}
    samples = []
    for done, sample in enumerate(first, start=1):
        if sample.sample_id in others:
            samples.append(comparing.sample(sample, others[sample.sample_id]))
        if progress is not None:
            progress(done, len(first))
    return SampleComparison(
        first=str(first.location),
        second=str(second.location),
        samples=samples,
        only_first=len(first) - len(samples),
        only_second=len(second) - len(samples),
        layers=comparing.layers(),
        num_mapped=comparing.num_mapped,
        matches=comparing.matches(),
        notes=comparing.notes(),
    )


class _Comparing:
    """Sums over the samples of two atlases."""

    def __init__(self, first: Atlas, second: Atlas, max_rows: int | None) -> None:
        self.classes = first.classes
        self.layout = first.attributes.token_layout
        self.max_rows = max_rows
        self.depths = len(first.layers), len(second.layers)
        self.same_image_size = self.layout != "patch_box" or (
            first[0].image.shape[:2] == second[0].image.shape[:2]
        )
        self.num_mapped = self.num_cut_differently = self.num_other_input = 0
        self.total: npt.NDArray[np.float64] | None = None  # [L, H, H] over samples
        self.total_layers = np.zeros(self.depths[0])

    def sample(self, sample: Sample, other: Sample) -> SampleDifference:
        """Compare one sample."""
        if sample.label != other.label:
            raise InputError(
                f"The sample {sample.sample_id!r} is labelled {self.classes[sample.label]!r} in "
                f"one run and {self.classes[other.label]!r} in the other: they are of other data."
            )
        readout = layers = None
        pieces = self._pieces(sample, other)
        if pieces is not None:
            readout = _readout_divergence(_readout(sample), _readout(other), pieces)
            if sample.has_maps and other.has_maps and self.depths[0] == self.depths[1] > 0:
                layers = self._layers(sample, other, pieces)
        prediction, changed = sample.prediction, other.prediction
        return SampleDifference(
            sample.sample_id,
            self.classes[sample.label],
            self.classes[prediction],
            self.classes[changed],
            _change(sample.label, prediction, changed),
            readout,
            layers,
        )

    def _pieces(self, sample: Sample, other: Sample) -> Pieces | None:
        """Return how to compare the two; None if their inputs differ."""
        boxes = sample.boxes
        if same_boxes(boxes, other.boxes):
            return Pieces(None, None)
        is_same_input = self.same_image_size
        if self.layout == "character_span":
            is_same_input = sample.text == other.text
        if not is_same_input:
            self.num_other_input += 1
            return None
        self.num_cut_differently += 1
        return common_pieces(boxes, other.boxes)

    def _layers(self, sample: Sample, other: Sample, pieces: Pieces) -> list[float] | None:
        queries = pieces.queries(sample.length, self.max_rows)
        if not len(queries[0]):
            return None
        rows = [
            spread(distributions(one, one.view_maps()[:, :, chosen]), overlaps)
            for one, chosen, overlaps in zip(
                (sample, other), queries, (pieces.first, pieces.second), strict=True
            )
        ]
        by_layer = jensen_shannon(rows[0].mean(axis=1), rows[1].mean(axis=1)).mean(axis=-1)
        by_head = np.stack(
            [
                jensen_shannon(rows[0][:, head, None], rows[1]).mean(axis=-1)
                for head in range(rows[0].shape[1])
            ],
            axis=1,
        )
        self.num_mapped += 1
        self.total_layers += by_layer
        self.total = by_head.astype(np.float64) if self.total is None else self.total + by_head
        return [float(divergence) for divergence in by_layer]

    def layers(self) -> list[float]:
        """Mean divergence of each layer."""
        return (self.total_layers / self.num_mapped).tolist() if self.num_mapped else []

    def matches(self) -> list[list[HeadMatch]]:
        """The heads of each layer that are nearest to one another."""
        if self.total is None:
            return []
        mean = self.total / self.num_mapped
        return [
            [
                HeadMatch(int(one), int(other), float(layer[one, other]))
                for one, other in zip(*linear_sum_assignment(layer), strict=True)
            ]
            for layer in mean
        ]

    def notes(self) -> list[str]:
        """Sentences on what was not compared, and why."""
        notes = []
        if self.num_cut_differently:
            notes.append(
                f"{self.num_cut_differently} samples are cut into other tokens: their weights are "
                "compared over the pieces of the input that the tokens of both make."
            )
        if self.num_other_input:
            what = "images have another size" if self.layout == "patch_box" else "texts differ"
            notes.append(
                f"The maps of {self.num_other_input} samples are not compared: their {what}."
            )
        if self.depths[0] != self.depths[1]:
            notes.append(
                f"Layers are not compared: the runs have {self.depths[0]} and {self.depths[1]}."
            )
        elif not self.num_mapped:
            notes.append("Layers are not compared: no sample has full maps in both runs.")
        return notes


def _readout(sample: Sample) -> npt.NDArray[np.float32] | None:
    """Return the readout row as a distribution [K + 1], mean of heads."""
    if not len(sample.readout) or not sample.length:
        return None
    mean: npt.NDArray[np.float32] = distributions(sample, sample.readout).mean(axis=0)
    return mean


def _readout_divergence(
    first: npt.NDArray[np.float32] | None, second: npt.NDArray[np.float32] | None, pieces: Pieces
) -> float | None:
    if first is None or second is None:
        return None
    return float(jensen_shannon(spread(first, pieces.first), spread(second, pieces.second)))


def _change(label: int, first: int, second: int) -> str:
    if first == second:
        return "same"
    if second == label:
        return "fixed"
    return "broken" if first == label else "changed"


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else repr(value)
