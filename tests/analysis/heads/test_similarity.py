"""Similarity of heads and agreement of layers, against scipy and numbers worked by hand."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from attention_atlas.analysis.heads import head_similarity, layer_agreement
from attention_atlas.analysis.heads.similarity import (
    cka_pairs,
    distributions,
    jensen_shannon,
    jensen_shannon_pairs,
    middles_of_parts,
    rows_of,
)
from attention_atlas.atlas import open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """That of one pair; columns of zeros, which fill the narrower one, change no product."""
    width = max(first.shape[1], second.shape[1])
    pair = [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (first, second)]
    return float(cka_pairs(np.stack(pair))[0, 1])


def test_divergence_by_hand() -> None:
    alike, apart = np.array([0.5, 0.5]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert jensen_shannon(alike, alike) == 0
    assert jensen_shannon(*apart) == pytest.approx(1)
    # H(3/4, 1/4) - (H(1/2, 1/2) + H(1, 0)) / 2 in bits
    expected = -0.75 * np.log2(0.75) - 0.25 * np.log2(0.25) - 0.5
    assert jensen_shannon(alike, apart[0]) == pytest.approx(expected)


def test_divergence_equals_the_square_of_scipys_distance() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.dirichlet(np.ones(9), size=(2, 6))
    second[:, :4] = 0
    second /= second.sum(-1, keepdims=True)
    expected = [jensenshannon(p, q, base=2) ** 2 for p, q in zip(first, second, strict=True)]
    np.testing.assert_allclose(jensen_shannon(first, second), expected, atol=1e-12)


def test_cka_by_hand() -> None:
    # Centred columns: x = (-1, 0, 1), y = (1, -2, 1): no correlation; z = -2 x.
    x, y, z = np.array([[1], [2], [3]]), np.array([[2], [-1], [2]]), np.array([[9], [7], [5]])
    assert linear_cka(x, y) == pytest.approx(0)
    assert linear_cka(x, z) == pytest.approx(1)
    # [x, y] against x: |X'[x y]|^2 = 2^2, |X'X| = 2, |[x y]'[x y]| = sqrt(2^2 + 6^2)
    assert linear_cka(x, np.hstack([x, y])) == pytest.approx(4 / (2 * np.sqrt(40)))


def test_cka_equals_its_formula_and_ignores_rotations() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 8, 5))
    a, b = x - x.mean(0), y - y.mean(0)
    norm = np.linalg.norm
    expected = norm(b.T @ a) ** 2 / (norm(a.T @ a) * norm(b.T @ b))
    assert linear_cka(x, y) == pytest.approx(expected)
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    assert linear_cka(3 * x @ rotation, y) == pytest.approx(expected)
    assert linear_cka(x, np.ones((8, 2))) == 0


@pytest.mark.parametrize(("variant", "task"), [(None, "nlp"), ("null_key", "vision")])
def test_similarity_of_heads_equals_loops(variant: str | None, task: str, tmp_path: Path) -> None:
    made_atlases.write(tmp_path, task, variant=variant)
    atlas = open_atlas(tmp_path)
    divergence, aligned = [], []
    for sample in (sample for sample in atlas if sample.has_maps):
        maps = sample.maps.astype(np.float64).reshape(8, sample.length, sample.length)
        if variant == "null_key":
            maps = np.concatenate([maps, np.maximum(1 - maps.sum(-1, keepdims=True), 0)], -1)
        pairs = np.zeros((2, 8, 8))
        for one, other in np.ndindex(8, 8):
            distances = jensenshannon(maps[one], maps[other], base=2, axis=-1)
            pairs[0, one, other] = np.mean(distances**2)
            pairs[1, one, other] = linear_cka(maps[one], maps[other])
        divergence.append(pairs[0])
        aligned.append(pairs[1])
    found = head_similarity(atlas, max_rows=None)
    np.testing.assert_allclose(found, np.mean(divergence, 0), atol=2e-6)
    found = head_similarity(atlas, "cka")
    np.testing.assert_allclose(found, np.mean(aligned, 0), atol=2e-3)


def test_agreement_of_layers_is_that_of_their_mean_heads(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "vision", layers=3)
    atlas = open_atlas(tmp_path)
    expected = np.zeros((3, 3))
    mapped = [sample for sample in atlas if sample.has_maps]
    for sample in mapped:
        layers = sample.maps.astype(np.float64).mean(1)
        for one, other in np.ndindex(3, 3):
            distances = jensenshannon(layers[one], layers[other], base=2, axis=-1)
            expected[one, other] += (1 - np.mean(np.nan_to_num(distances) ** 2)) / len(mapped)
    np.testing.assert_allclose(layer_agreement(atlas, max_rows=None), expected, atol=2e-6)


def test_signed_rows_count_by_their_magnitudes(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "nlp", variant="differential")
    atlas = open_atlas(tmp_path)
    rows = rows_of(atlas[0])
    magnitudes = np.abs(atlas[0].maps.astype(np.float64))
    np.testing.assert_allclose(
        rows[..., :-1], magnitudes / magnitudes.sum(-1, keepdims=True), rtol=1e-5
    )
    assert (rows[..., -1] == 0).all()
    assert head_similarity(atlas).max() <= 1


def test_the_share_of_a_null_key_is_a_key_of_its_own(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "nlp", variant="null_key")
    sample = open_atlas(tmp_path)[0]
    rows = distributions(sample, sample.readout)
    np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(rows[:, -1], sample.readout_null_share, atol=1e-6)


def test_a_few_rows_are_spread_evenly() -> None:
    assert middles_of_parts(3, 5).tolist() == [0, 1, 2]
    assert middles_of_parts(10, None).tolist() == list(range(10))
    assert middles_of_parts(100, 4).tolist() == [12, 37, 62, 87]


def test_pairs_are_symmetric_with_themselves_on_the_diagonal() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(6), size=(4, 5)).astype(np.float32)
    divergence, aligned = jensen_shannon_pairs(rows), cka_pairs(rows)
    np.testing.assert_array_equal(divergence, divergence.T)
    assert (np.diagonal(divergence) == 0).all()
    np.testing.assert_allclose(np.diagonal(aligned), 1)


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    made_atlases.write(tmp_path / "without", "nlp", mapped=0)
    made_atlases.write(tmp_path / "with", "nlp")
    with pytest.raises(InputError, match="no sample with full maps"):
        head_similarity(open_atlas(tmp_path / "without"))
    with pytest.raises(InputError, match="jensen_shannon or cka"):
        head_similarity(open_atlas(tmp_path / "with"), "cosine")
