"""Initial token vectors (PPMI and truncated SVD, Levy 2015) and frequent bigrams, from token
co-occurrence."""

import numpy as np
import scipy.sparse as sparse

from attention_atlas.data.text.tokenizer import MASK, EncodedTexts

WINDOW = 5
SMOOTHING = 0.75
SCALE = 0.3
RARE_PAIR = 5


def cooccurrence_vectors(encoded: EncodedTexts, vocab_size: int, dim: int) -> np.ndarray:
    """Factorize the positive pointwise mutual information of tokens.

    The window is five tokens, weighted by 1 - (distance - 1) / 5; context counts are smoothed by an
    exponent of 0.75, and vectors are scaled by the root of the singular values (Levy 2015).

    Returns:
        float32 [vocab_size, dim]. Vectors of tokens that occur have a root mean square of 0.3,
        which outweighs positions and still leaves the vectors trainable; others are zero.
    """
    from sklearn.utils.extmath import randomized_svd  # slow to import

    counts = _count(encoded, vocab_size)
    information = _positive_information(counts)
    rank = min(dim, vocab_size - 1)
    left, values, _ = randomized_svd(information, rank, n_iter=3, random_state=0)
    vectors = np.zeros((vocab_size, dim), dtype=np.float32)
    vectors[:, :rank] = left * np.sqrt(values)
    occurs = np.bincount(encoded.ids, minlength=vocab_size) > 0
    scale = SCALE / max(np.sqrt(np.mean(vectors[occurs] ** 2)), 1e-12)
    return np.where(occurs[:, None], scale * vectors, 0).astype(np.float32)


def frequent_pairs(encoded: EncodedTexts, vocab_size: int, limit: int) -> np.ndarray:
    """Return the most frequent bigrams that occur at least five times.

    Returns:
        int64 [at most `limit`], sorted: first id * vocab_size + second id of each bigram.
    """
    text = np.repeat(np.arange(len(encoded.lengths)), encoded.lengths)
    first, second = encoded.ids[:-1].astype(np.int64), encoded.ids[1:]
    inside = (text[:-1] == text[1:]) & (first > MASK) & (second > MASK)
    keys, counts = np.unique((first * vocab_size + second)[inside], return_counts=True)
    order = np.lexsort((keys, -counts))[:limit]
    pairs: np.ndarray = np.sort(keys[order][counts[order] >= RARE_PAIR])
    return pairs


def _count(encoded: EncodedTexts, vocab_size: int) -> sparse.csr_matrix:
    """Return weighted co-occurrence counts [V, V] within the window."""
    text = np.repeat(np.arange(len(encoded.lengths)), encoded.lengths)
    counts = sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        together = text[:-distance] == text[distance:]
        first, second = encoded.ids[:-distance][together], encoded.ids[distance:][together]
        weight = np.full(len(first), 1 - (distance - 1) / WINDOW, dtype=np.float32)
        pairs = sparse.coo_matrix((weight, (first, second)), shape=counts.shape)
        counts = counts + pairs.tocsr()
    return (counts + counts.T).tocsr()


def _positive_information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return positive pointwise mutual information, max(0, log p(a, b) / (p(a) p(b)))."""
    totals = np.asarray(counts.sum(axis=1)).ravel()
    context = totals**SMOOTHING
    context /= max(context.sum(), 1e-12)
    pairs = counts.tocoo()
    information = np.log(pairs.data / (totals[pairs.row] * context[pairs.col]))
    positive = information > 0
    return sparse.csr_matrix(
        (information[positive], (pairs.row[positive], pairs.col[positive])),
        shape=counts.shape,
        dtype=np.float32,
    )
