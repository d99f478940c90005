"""Iterate over the full maps of many samples, while the next batch is read ahead."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.sample import Sample

BATCH_BYTES = 4 * 2**20  # of float16; its float32 is about as large as a cache

Batch = tuple[list[Sample], npt.NDArray[Any]]


def iter_maps(samples: Sequence[Sample], batch_bytes: int) -> Iterator[Batch]:
    """Yield samples of one length with their maps [N, L, H, K, K], as `Atlas.iter_maps` does."""
    batches = _batches(samples, batch_bytes)
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = None
        for batch in batches:
            submitted = pool.submit(_read, batch)
            if ahead is not None:
                yield ahead.result()
            ahead = submitted
        if ahead is not None:
            yield ahead.result()


def _batches(samples: Sequence[Sample], batch_bytes: int) -> Iterator[list[Sample]]:
    """Cut the samples into batches of one length, the shortest first."""
    for _, group in groupby(sorted(samples, key=attrgetter("length")), attrgetter("length")):
        alike = list(group)
        size = max(1, batch_bytes // max(1, alike[0].num_map_bytes))
        for first in range(0, len(alike), size):
            yield alike[first : first + size]


def _read(samples: list[Sample]) -> Batch:
    first = samples[0].view_maps()
    maps = np.empty((len(samples), *first.shape), first.dtype)
    maps[0] = first
    for row, sample in zip(maps[1:], samples[1:], strict=True):
        row[:] = sample.view_maps()
    return samples, maps
