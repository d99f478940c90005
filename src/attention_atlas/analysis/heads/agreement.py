"""How far two layers attend alike."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from attention_atlas.analysis.heads.similarity import (
    MAX_ROWS,
    jensen_shannon_pairs,
    mapped_samples,
    rows_of,
)
from attention_atlas.atlas import Atlas


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
