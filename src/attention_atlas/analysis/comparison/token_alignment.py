"""Bring weights over two sets of tokens of one input onto the same pieces of that input.

Two runs may cut an input into different tokens: words by another vocabulary, patches of another
size. The edges of all tokens of both cut it into pieces that no token edge crosses, and a token's
weight is spread over its pieces in proportion to their size. Letters of shapes: K tokens, P pieces.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.analysis.heads.similarity import middles_of_parts
from attention_atlas.atlas.sample import stands_in_input

Boxes = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pieces:
    """How the weights of two sets of tokens are compared.

    Attributes:
        first: [K, P + 1] fraction of each token in each piece, the last for tokens that stand for
            no part of the input, such as CLS; None where the tokens of both are the same.
        second: The same of the second set.
    """

    first: Floats | None
    second: Floats | None

    def queries(
        self, length: int, max_count: int | None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return evenly spaced pairs of queries that cover the same piece, at most `max_count`.

        The first set has `length` tokens.
        """
        if self.first is None or self.second is None:
            same = middles_of_parts(length, max_count)
            return same, same
        covers_1, covers_2 = self.first[:, :-1] > 0, self.second[:, :-1] > 0
        shared = np.flatnonzero(covers_1.any(axis=0) & covers_2.any(axis=0))
        shared = shared[middles_of_parts(len(shared), max_count)]
        return covers_1[:, shared].argmax(axis=0), covers_2[:, shared].argmax(axis=0)


def same_boxes(first: Boxes, second: Boxes) -> bool:
    """Tell whether two samples have the same tokens."""
    if first.shape != second.shape:
        return False
    return bool(np.array_equal(first.astype(np.float64), second.astype(np.float64), equal_nan=True))


def common_pieces(first: Boxes, second: Boxes) -> Pieces:
    """Return how to compare weights over two sets of tokens, by their boxes [K, 2] or [K, 4]."""
    if same_boxes(first, second):
        return Pieces(None, None)
    edges = []
    axes = first.shape[1] // 2
    for axis in range(axes):
        ends = [
            boxes[stands_in_input(boxes)][:, [axis, axis + axes]].ravel()
            for boxes in (first, second)
        ]
        edges.append(np.unique(np.concatenate(ends).astype(np.float64)))
    return Pieces(_overlaps(first, edges), _overlaps(second, edges))


def _overlaps(boxes: Boxes, edges: list[npt.NDArray[np.float64]]) -> Floats:
    """Return the fraction of each token in each piece, [K, P + 1]."""
    placed = stands_in_input(boxes)
    axes = len(edges)
    overlaps = np.ones((len(boxes), 1))
    for axis, cuts in enumerate(edges):
        start, end = boxes[:, axis, None].astype(np.float64), boxes[:, axis + axes, None]
        inside = (cuts[:-1] >= start) & (cuts[1:] <= end)
        part = np.where(inside & placed[:, None], np.diff(cuts), 0.0)
        total = part.sum(axis=1, keepdims=True)
        part = np.divide(part, total, out=part, where=total > 0)
        overlaps = (overlaps[:, :, None] * part[:, None, :]).reshape(len(boxes), -1)
    return np.concatenate([overlaps, ~placed[:, None]], axis=1).astype(np.float32)


def spread(rows: Floats, overlaps: Floats | None) -> Floats:
    """Spread distributions [..., K + 1], the null key last, over pieces: [..., P + 2]."""
    if overlaps is None:
        return rows
    spread_rows: Floats = np.concatenate([rows[..., :-1] @ overlaps, rows[..., -1:]], axis=-1)
    return spread_rows
