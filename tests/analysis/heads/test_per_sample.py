"""Statistics of the maps of one sample, against loops over its numbers."""

import numpy as np
import pytest

from attention_atlas.analysis.heads.per_sample import (
    as_fractions,
    distance,
    distances_between,
    entropy,
    entropy_of_fractions,
    input_positions,
    maximum,
    sink_score,
    token_positions,
)
from attention_atlas.atlas.sample import stands_in_input

CLS = [np.nan] * 4


@pytest.fixture
def maps() -> np.ndarray:
    generator = np.random.default_rng(0)
    weights = generator.random((2, 3, 5, 5)).astype(np.float32)
    return weights / weights.sum(-1, keepdims=True)


def test_shares_of_signed_rows_are_magnitudes_that_sum_to_one() -> None:
    rows = np.array([[0.5, -0.25, 0.25], [0.0, 0.0, 0.0]], np.float16)
    assert as_fractions(rows, signed=True).tolist() == [[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]


def test_rows_with_a_null_key_keep_their_sum() -> None:
    rows = np.array([[0.25, 0.25]], np.float16)
    shares = as_fractions(rows, signed=False)
    assert shares.dtype == np.float32
    assert shares.tolist() == [[0.25, 0.25]]


def test_maximum_and_sink_score_by_hand() -> None:
    head = np.array([[0.5, 0.25, 0.25], [0.75, 0.0, 0.25], [0.25, 0.25, 0.5]], np.float32)
    assert maximum(head[None, None]).item() == pytest.approx((0.5 + 0.75 + 0.5) / 3)
    assert sink_score(head[None, None]).item() == pytest.approx(0.5)  # 1.5 / 3, of the first key


def test_entropy_is_of_rows_divided_by_their_sum() -> None:
    rows = np.array([[1 / 3, 1 / 3], [0.1, 0.0], [0.6, 0.2], [0.0, 0.0]], np.float32)
    three_to_one = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    np.testing.assert_allclose(
        entropy_of_fractions(rows), [np.log(2), 0, three_to_one, np.nan], rtol=1e-6
    )
    # The last query attends to no key, so it does not count.
    mean = (np.log(2) + three_to_one) / 3
    np.testing.assert_allclose(entropy(rows[None, None]), [[mean]], rtol=1e-6)
    assert np.isnan(entropy(np.zeros((1, 1, 2, 2), np.float32))).all()


def test_sink_score_with_a_null_key_lies_between_its_bounds() -> None:
    even, sink = np.full((2, 2), 0.2), np.array([[0.4, 0.0], [0.4, 0.0]])
    heads = np.stack([even, sink]).astype(np.float32)[None]  # a null share of 0.6
    np.testing.assert_allclose(sink_score(heads), [[(1 - 0.6) / 2, 1 - 0.6]], rtol=1e-6)


def test_statistics_equal_loops(maps: np.ndarray) -> None:
    places = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [3, 4]], np.float32)
    for layer in range(2):
        for head in range(3):
            rows = maps[layer, head].astype(np.float64).tolist()
            largest = sum(max(row) for row in rows) / 5
            received = [sum(row[key] for row in rows) / 5 for key in range(5)]
            far = 0.0
            for query in range(5):
                for key in range(5):
                    step = np.hypot(*(places[query] - places[key]).astype(np.float64))
                    far += rows[query][key] * step / sum(rows[query]) / 5
            assert maximum(maps)[layer, head] == pytest.approx(largest, rel=1e-6)
            assert sink_score(maps)[layer, head] == pytest.approx(max(received), rel=1e-6)
            assert distance(maps, distances_between(places))[layer, head] == pytest.approx(
                far, rel=1e-6
            )


def test_distance_leaves_out_tokens_without_a_position() -> None:
    head = np.array([[0.8, 0.1, 0.1], [0.5, 0.2, 0.3], [0.0, 1.0, 0.0]], np.float32)[None, None]
    places = np.array([[np.nan], [0.0], [2.0]], np.float32)
    # Of the second query 0.3 / (0.2 + 0.3) lie 2 steps away, of the third all.
    assert distance(head, distances_between(places)).item() == pytest.approx((0.6 * 2 + 2) / 2)
    nowhere = np.full((3, 1), np.nan, np.float32)
    assert np.isnan(distance(head, distances_between(nowhere))).all()


def test_a_query_without_weights_is_at_no_distance() -> None:
    head = np.zeros((1, 1, 2, 2), np.float32)
    head[0, 0, 0] = [0.0, 1.0]
    assert distance(head, distances_between(np.array([[0.0], [4.0]], np.float32))).item() == 2.0


def test_positions_of_words() -> None:
    boxes = np.array([[0, 0], [0, 4], [5, 7], [7, 8]], np.int32)
    assert stands_in_input(boxes).tolist() == [False, True, True, True]
    np.testing.assert_array_equal(token_positions(boxes)[:, 0], [np.nan, 1, 2, 3])
    centres = input_positions(boxes, "character_span")
    np.testing.assert_array_equal(centres[:, 0], [np.nan, 2, 6, 7.5])


def test_positions_of_patches_are_rows_and_columns() -> None:
    boxes = np.array([CLS, [0, 0, 4, 8], [0, 8, 4, 16], [4, 0, 8, 8]], np.float32)
    places, centres = token_positions(boxes), input_positions(boxes, "patch_box")
    np.testing.assert_array_equal(places, [[np.nan] * 2, [0, 0], [0, 1], [1, 0]])
    np.testing.assert_array_equal(centres, [[np.nan] * 2, [2, 4], [2, 12], [6, 4]])


def test_positions_of_sound_are_seconds() -> None:
    boxes = np.array([[0.0, 100, 0.5, 900], [0.5, 100, 1.0, 900]], np.float32)
    centres = input_positions(boxes, "time_frequency_box")
    assert centres.tolist() == [[0.25], [0.75]]
    assert distances_between(centres).tolist() == [[0.0, 0.5], [0.5, 0.0]]
