"""Similarity of two heads: Jensen-Shannon divergence, or linear CKA, of their maps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.analysis.heads.per_sample import as_fractions
from attention_atlas.atlas import Atlas, Sample
from attention_atlas.errors import InputError

MAX_ROWS = 32  # rows of a map that are compared
_SMALLEST = np.finfo(np.float32).tiny

Floats = npt.NDArray[np.floating[Any]]


def head_similarity(
    atlas: Atlas,
    measure: str = "jensen_shannon",
    epoch: int | None = None,
    max_rows: int | None = MAX_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the similarity of each pair of heads, [L*H, L*H], head h of layer l at l * H + h.

    - `jensen_shannon`: the divergence of their rows, in bits (divided by log 2): 0 if two heads
      attend to the same keys, 1 if they share no key; mean over rows and samples.
    - `cka`: linear CKA of their maps, mean over samples; see `cka_pairs`. 1 if the maps of
      two heads are the same; queries are its examples and keys its features, as many of each, so
      that unrelated maps of noise come out near 1/2 and not near 0.

    Samples with full maps of an epoch, by default the last, are read. `max_rows` evenly spaced rows
    of each map are compared, or all for None: rows of one map are similar, so that a few suffice
    and cost less. CKA takes all. `progress` is called with the number of samples done, and of all.

    Raises InputError if there is no such measure or epoch, or no sample has full maps.
    """
    if measure not in MEASURES:
        raise InputError(f"There is no measure {measure!r}: take {' or '.join(MEASURES)}.")
    compare, samples = MEASURES[measure], mapped_samples(atlas, epoch)
    if measure == "cka":
        max_rows = None
    total: npt.NDArray[np.float64] | None = None
    for done, sample in enumerate(samples, start=1):
        rows = rows_of(sample, max_rows)
        pairs = compare(rows.reshape(-1, *rows.shape[2:]))
        total = pairs if total is None else total + pairs
        if progress is not None:
            progress(done, len(samples))
    assert total is not None
    return total / len(samples)


def mapped_samples(atlas: Atlas, epoch: int | None = None) -> list[Sample]:
    """Return the samples of an epoch that have full maps; InputError if there is none."""
    samples = [sample for sample in atlas.samples(epoch) if sample.has_maps and sample.length]
    if not samples or not atlas.layers:
        what = "no sample with full maps" if atlas.layers else "no layers"
        raise InputError(
            f"The atlas {atlas.location} has {what}, so there are no maps of heads to compare: "
            "record them with capture=full."
        )
    return samples


def rows_of(sample: Sample, max_rows: int | None = None) -> npt.NDArray[np.float32]:
    """Return evenly spaced rows of the maps of a sample as distributions, [L, H, Q, K + 1].

    The last key is the null key, with what a row lacks to 1 where the mechanism has one, else 0.
    Signed weights are abs(A) / sum abs(A).
    """
    chosen = middles_of_parts(sample.length, max_rows)
    return distributions(sample, sample.view_maps()[:, :, chosen])


def distributions(sample: Sample, weights: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return weights [..., K] of a sample as distributions over K + 1 keys, the null key last."""
    fractions = as_fractions(weights, sample.signed)
    total = fractions.sum(axis=-1, keepdims=True)
    null = np.zeros_like(total)
    if sample.null_share is not None:
        np.maximum(1 - total, 0, out=null)
        total += null
    # Rounding to float16 leaves a row a little off 1.
    np.divide(fractions, total, out=fractions, where=total > 0)
    np.divide(null, total, out=null, where=total > 0)
    return np.concatenate([fractions, null], axis=-1)


def middles_of_parts(count: int, maximum: int | None) -> npt.NDArray[np.intp]:
    """Return at most `maximum` evenly spaced indices below `count`, the middles of equal parts."""
    if maximum is None or count <= maximum:
        return np.arange(count)
    return (2 * np.arange(maximum) + 1) * count // (2 * maximum)


def jensen_shannon(first: Floats, second: Floats) -> Floats:
    """Return the Jensen-Shannon divergence of distributions [..., K], in bits: [...].

    H((p + q) / 2) - (H(p) + H(q)) / 2 over log 2 (Lin 1991): 0 if they are equal, 1 if they
    share no key. Clark et al. 2019 (arXiv 1906.04341, section 6) compare heads by it.
    """
    mixed = _negative_entropy((first + second) / 2)
    parts = (_negative_entropy(first) + _negative_entropy(second)) / 2
    bits: Floats = np.maximum(parts - mixed, 0) / np.log(2)
    return bits


def jensen_shannon_pairs(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the mean divergence over rows of each pair of heads, [N, Q, K] to [N, N], in bits."""
    count = len(rows)
    own = _negative_entropy(rows).mean(axis=-1)
    pairs = np.zeros((count, count))
    for head in range(count - 1):
        mixed = _negative_entropy((rows[head] + rows[head + 1 :]) / 2).mean(axis=-1)
        pairs[head, head + 1 :] = (own[head] + own[head + 1 :]) / 2 - mixed
    np.maximum(pairs, 0, out=pairs)
    both: npt.NDArray[np.float64] = (pairs + pairs.T) / np.log(2)
    return both


def cka_pairs(matrices: Floats) -> npt.NDArray[np.float64]:
    """Return the linear centred kernel alignment of each pair of matrices, [N, n, p] to [N, N].

    |Y'X|^2 / (|X'X| |Y'Y|) of the columns less their means, by Frobenius norms (Kornblith et al.
    2019, arXiv 1905.00414, section 3): 1 for the same up to rotation and scale, and 0 where no
    column of one is correlated with one of the other. 0 by convention where a matrix is constant.
    """
    centred = matrices.astype(np.float64) - matrices.mean(axis=1, keepdims=True, dtype=np.float64)
    grams = (centred @ centred.transpose(0, 2, 1)).reshape(len(matrices), -1)
    products = grams @ grams.T  # <XX', YY'> = |Y'X|^2
    norms = np.sqrt(np.diagonal(products))
    norms = np.where(norms > 0, norms, 1)
    aligned: npt.NDArray[np.float64] = products / np.outer(norms, norms)
    return aligned


def _negative_entropy(fractions: Floats) -> Floats:
    """Return sum p log p over the last axis."""
    logs = np.log(np.maximum(fractions, _SMALLEST))
    total: Floats = np.einsum("...k,...k->...", fractions, logs)
    return total


MEASURES: dict[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]] = {
    "jensen_shannon": jensen_shannon_pairs,
    "cka": cka_pairs,
}
"""Functions that compare the heads of one sample by name: rows [N, Q, K] to [N, N]."""


def layer_agreement(
    atlas: Atlas,
    epoch: int | None = None,
    max_rows: int | None = MAX_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the agreement of each pair of layers, [L, L], from 0 (no key shared) to 1 (alike).

    1 - JS(a_l, a_m), where a_l is a row of the map of layer l, mean of its heads, and JS the
    Jensen-Shannon divergence in bits; mean over rows and samples. Zhou et al. 2021 (DeepViT, arXiv
    2103.11886, section 3) compare maps across layers by their cosine, and find that those of deep
    layers collapse into one; the divergence here is the one that heads are compared by.

    Arguments and errors are those of `head_similarity`.
    """
    samples = mapped_samples(atlas, epoch)
    total = np.zeros((len(atlas.layers), len(atlas.layers)))
    for done, sample in enumerate(samples, start=1):
        total += 1 - jensen_shannon_pairs(rows_of(sample, max_rows).mean(axis=1))
        if progress is not None:
            progress(done, len(samples))
    return total / len(samples)
