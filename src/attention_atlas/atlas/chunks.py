"""Cut blocks of values into chunks, and encode each as Zarr does.

Zarr takes each chunk through its event loop and two threads, which costs about a millisecond; that
is more than a small model needs for the samples in it. The bytes here are the same: those of the
codecs `bytes` (little endian) or `vlen-utf8`, then `zstd` with a checksum.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

_ZSTD = Zstd(level=1, checksum=True)
_STRINGS = VLenUTF8()

_COMPRESSION = {"name": "zstd", "configuration": {"level": 1, "checksum": True}}
CODECS = ({"name": "bytes", "configuration": {"endian": "little"}}, _COMPRESSION)
TEXT_CODECS = ({"name": "vlen-utf8", "configuration": {}}, _COMPRESSION)


def cut(
    block: npt.NDArray[Any], chunks: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], npt.NDArray[Any]]]:
    """Yield the chunks of a block of whole ones, each with its number along every axis."""
    counts = [length // size for length, size in zip(block.shape, chunks, strict=True)]
    for numbers in itertools.product(*map(range, counts)):
        region = tuple(
            slice(number * size, (number + 1) * size)
            for number, size in zip(numbers, chunks, strict=True)
        )
        yield numbers, block[region]


def encode(chunk: npt.NDArray[Any]) -> bytes:
    """Return the stored bytes of a chunk of numbers, or of texts as an array of objects."""
    if chunk.dtype == object:
        encoded = _STRINGS.encode(chunk)
    else:
        encoded = np.ascontiguousarray(chunk, dtype=chunk.dtype.newbyteorder("<"))
    compressed: bytes = _ZSTD.encode(encoded)
    return compressed
