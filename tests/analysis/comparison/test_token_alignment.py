"""Weights over different tokens of one input, brought onto the same pieces."""

import numpy as np
import pytest

from attention_atlas.analysis.comparison.token_alignment import common_pieces, same_boxes, spread
from attention_atlas.analysis.heads.similarity import jensen_shannon


def spread_both(boxes: tuple[list, list], rows: tuple[list, list]) -> tuple[np.ndarray, np.ndarray]:
    """Spread two rows, their null key last, over the pieces of both."""
    pieces = common_pieces(*(np.array(each, np.float32) for each in boxes))
    return tuple(
        spread(np.array(row, np.float32), shares)
        for row, shares in zip(rows, (pieces.first, pieces.second), strict=True)
    )


def test_a_word_is_aligned_with_its_syllables() -> None:
    first, second = spread_both(
        ([[0, 6], [7, 9]], [[0, 2], [2, 6], [7, 9]]),
        ([0.6, 0.4, 0.0], [0.2, 0.4, 0.4, 0.0]),
    )
    # Pieces 0-2, 2-6, 6-7 (the blank, of no token), 7-9; then tokens of no place, and the null key.
    np.testing.assert_allclose(first, [0.2, 0.4, 0, 0.4, 0, 0], atol=1e-7)
    np.testing.assert_allclose(second, first, atol=1e-7)
    assert jensen_shannon(first, second) == pytest.approx(0, abs=1e-6)


def test_patches_of_another_size_share_their_area() -> None:
    large = [[0, 0, 4, 4]]
    small = [[0, 0, 2, 2], [0, 2, 2, 4], [2, 0, 4, 2], [2, 2, 4, 4]]
    first, second = spread_both((large, small), ([1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]))
    np.testing.assert_allclose(first, [0.25, 0.25, 0.25, 0.25, 0, 0])
    np.testing.assert_allclose(second, [1, 0, 0, 0, 0, 0])


def test_crossing_tokens_are_cut_where_either_ends() -> None:
    first, second = spread_both(
        ([[0, 3], [3, 6]], [[0, 2], [2, 6]]), ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    )
    np.testing.assert_allclose(first, [2 / 3, 1 / 3, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(second, [0, 1 / 4, 3 / 4, 0, 0], rtol=1e-6)


def test_special_tokens_and_the_null_key_have_pieces_of_their_own() -> None:
    nowhere = [np.nan] * 4
    first, second = spread_both(
        ([nowhere, [0, 0, 2, 2]], [[0, 0, 2, 2]]), ([0.5, 0.3, 0.2], [0.9, 0.1])
    )
    np.testing.assert_allclose(first, [0.3, 0.5, 0.2], rtol=1e-6)
    np.testing.assert_allclose(second, [0.9, 0.0, 0.1], rtol=1e-6)


def test_tokens_that_overlap_keep_their_weight() -> None:
    # Two tokens of the bytes of one character have the same span.
    first, second = spread_both(([[0, 1], [0, 1], [1, 2]], [[0, 2]]), ([0.2, 0.3, 0.5, 0], [1, 0]))
    np.testing.assert_allclose(first, [0.5, 0.5, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(second, [0.5, 0.5, 0, 0], rtol=1e-6)


def test_aligned_queries_cover_the_same_span() -> None:
    first = np.array([[0, 6], [7, 9]])
    second = np.array([[0, 2], [2, 6], [7, 9]])
    pieces = common_pieces(first, second)
    one, other = pieces.queries(2, None)
    assert one.tolist() == [0, 0, 1]
    assert other.tolist() == [0, 1, 2]
    assert [list(each) for each in pieces.queries(2, 1)] == [[0], [1]]


def test_same_tokens_are_compared_as_they_are() -> None:
    boxes = np.array([[np.nan] * 4, [0, 0, 2, 2]], np.float32)
    assert same_boxes(boxes, boxes.copy())
    assert not same_boxes(boxes, boxes[1:])
    pieces = common_pieces(boxes, boxes.copy())
    assert (pieces.first, pieces.second) == (None, None)
    row = np.array([0.5, 0.5, 0.0], np.float32)
    assert spread(row, pieces.first) is row
