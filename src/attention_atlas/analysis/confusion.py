"""Precision, recall and support of each class, from a confusion matrix; without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.errors import InputError


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


def confusion_of(result: Mapping[str, Any]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the classes of a result, and how many samples of each [C] were predicted as each [C].

    Raises:
        InputError: The result holds no confusion matrix of its classes.
    """
    classes = result.get("classes")
    values = result.get(f"{result.get('split', 'test')}/confusion_matrix")
    try:
        matrix = np.array(values, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0, dtype=np.int64)
    size = len(classes) if isinstance(classes, list) else -1
    if matrix.shape != (size, size) or (matrix < 0).any():
        raise InputError("The result holds no confusion matrix: it is not one of a tested run.")
    return [str(name) for name in classes or []], matrix


def class_scores(classes: Sequence[str], confusion: npt.NDArray[np.int64]) -> list[ClassScores]:
    """Return the scores of each class from counts [C, C], rows by label, columns by prediction."""
    right = np.diag(confusion)
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = right / predicted, right / support
        f1 = 2 * right / (predicted + support)
    columns = (classes, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist())
    return [ClassScores(*row) for row in zip(*columns, strict=True)]


def majority_rate(confusion: npt.NDArray[np.int64]) -> float:
    """Return the accuracy of predicting the most frequent class always; NaN without samples."""
    support = confusion.sum(axis=1)
    return float(support.max(initial=0) / support.sum()) if support.sum() else float("nan")
