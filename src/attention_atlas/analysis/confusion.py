"""Counts of confused classes, and precision, recall and support of each; without torch.

Of C * C counts all but a few per sample are zero, so only the others are saved and held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from attention_atlas.errors import InputError

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Confusion:
    """How many samples of a class were predicted as another, for the pairs that occur.

    Attributes:
        classes: Names of the C classes.
        labels: [n] index of the class of the label.
        predictions: [n] index of the class that was predicted.
        counts: [n] number of samples.
    """

    classes: list[str]
    labels: Integers
    predictions: Integers
    counts: Integers

    @classmethod
    def of(cls, classes: list[str], counts: Mapping[tuple[int, int], int]) -> Self:
        """Build it from counts by the indices of label and prediction."""
        pairs = sorted(counts)
        columns = np.array([(*pair, counts[pair]) for pair in pairs], np.int64).reshape(-1, 3)
        return cls(classes, *columns.T)

    def to_json(self) -> dict[str, list[int]]:
        """Return the counts as a result has them; see `confusion_of`."""
        return {
            "label": self.labels.tolist(),
            "prediction": self.predictions.tolist(),
            "count": self.counts.tolist(),
        }

    @property
    def support(self) -> Integers:
        """[C] samples of each class."""
        return self._sums(self.labels, self.counts)

    @property
    def predicted(self) -> Integers:
        """[C] samples predicted as each class."""
        return self._sums(self.predictions, self.counts)

    @property
    def right(self) -> Integers:
        """[C] samples of each class that are predicted as it."""
        return self._sums(self.labels, np.where(self.labels == self.predictions, self.counts, 0))

    def matrix(self, chosen: Sequence[int]) -> Integers:
        """Return the counts [k, k] of k of the classes, rows by label, columns by prediction."""
        positions = np.full(len(self.classes), -1)
        positions[chosen] = np.arange(len(chosen))
        rows, columns = positions[self.labels], positions[self.predictions]
        is_chosen = (rows >= 0) & (columns >= 0)
        counts = np.zeros((len(chosen), len(chosen)), dtype=np.int64)
        np.add.at(counts, (rows[is_chosen], columns[is_chosen]), self.counts[is_chosen])
        return counts

    def _sums(self, indices: Integers, counts: Integers) -> Integers:
        sums = np.zeros(len(self.classes), dtype=np.int64)
        np.add.at(sums, indices, counts)
        return sums


@dataclass(frozen=True)
class ClassScores:
    """How well one class is found.

    Attributes:
        name: Name of the class.
        precision: Fraction of the samples predicted as it that are of it; NaN if there are none.
        recall: Fraction of its samples that are predicted as it; NaN if there are none.
        f1: Harmonic mean of the two, 0 if no sample of it is right; NaN without samples.
        support: Number of its samples.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


def confusion_of(result: Mapping[str, Any]) -> Confusion:
    """Return the confused classes of a result; earlier versions saved a matrix [C, C].

    Raises:
        InputError: The result holds none of its classes.
    """
    classes = result.get("classes")
    values = result.get(f"{result.get('split', 'test')}/confusion_matrix")
    found = None
    if isinstance(classes, list):
        names = [str(name) for name in classes]
        found = _read_pairs(values, names) or _read_matrix(values, names)
    if found is None:
        raise InputError("The result holds no confusion matrix: it is not one of a tested run.")
    return found


def _read_pairs(values: Any, classes: list[str]) -> Confusion | None:
    if not isinstance(values, dict):
        return None
    columns = [_integers(values.get(name)) for name in ("label", "prediction", "count")]
    labels, predictions, counts = columns
    if len({each.shape for each in columns}) > 1 or counts.ndim != 1:
        return None
    is_valid = (counts >= 0) & (np.minimum(labels, predictions) >= 0)
    is_valid &= np.maximum(labels, predictions) < len(classes)
    return Confusion(classes, labels, predictions, counts) if is_valid.all() else None


def _read_matrix(values: Any, classes: list[str]) -> Confusion | None:
    matrix = _integers(values)
    if matrix.shape != (len(classes), len(classes)) or (matrix < 0).any():
        return None
    labels, predictions = np.nonzero(matrix)
    return Confusion(classes, labels, predictions, matrix[labels, predictions])


def _integers(values: Any) -> Integers:
    """Return a list as an array; a scalar if it is not one of integers."""
    try:
        return np.array(values, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return np.array(-1)


def class_scores(confusion: Confusion) -> list[ClassScores]:
    """Return the scores of each class."""
    right, predicted, support = confusion.right, confusion.predicted, confusion.support
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = right / predicted, right / support
        f1 = 2 * right / (predicted + support)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), support.tolist())
    return [ClassScores(*row) for row in zip(confusion.classes, *columns, strict=True)]


def majority_rate(confusion: Confusion) -> float:
    """Return the accuracy of predicting the most frequent class always; NaN without samples."""
    support = confusion.support
    return float(support.max(initial=0) / support.sum()) if support.sum() else float("nan")
