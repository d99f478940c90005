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

_STRINGS = VLenUTF8()

# Weights hardly get smaller at a higher level, and take three times as long.
LEVEL, TEXT_LEVEL = -1, 1
_ZSTD, _TEXT_ZSTD = (Zstd(level=level, checksum=True) for level in (LEVEL, TEXT_LEVEL))


def codecs(dtype: str) -> list[dict[str, Any]]:
    """Return the codecs of chunks of this type, or of texts where it is `str`."""
    if dtype == "str":
        return [{"name": "vlen-utf8", "configuration": {}}, _compression(TEXT_LEVEL)]
    order: dict[str, Any] = {"name": "bytes"}
    if np.dtype(dtype).itemsize > 1:  # a single byte has no order
        order["configuration"] = {"endian": "little"}
    return [order, _compression(LEVEL)]


def _compression(level: int) -> dict[str, Any]:
    return {"name": "zstd", "configuration": {"level": level, "checksum": True}}


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
    compressed: bytes
    if chunk.dtype == object:
        compressed = _TEXT_ZSTD.encode(_STRINGS.encode(chunk))
    else:
        compressed = _ZSTD.encode(np.ascontiguousarray(chunk, dtype=chunk.dtype.newbyteorder("<")))
    return compressed
