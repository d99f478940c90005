"""Chunks, digests and metadata of an atlas as they are stored.

Chunks are encoded here and not by zarr, whose event loop and threads cost about a millisecond a
chunk. The bytes are the same: codecs `bytes` (little endian) or `vlen-utf8`, then `zstd` with a
checksum. The digest of an array is the SHA-256 of one line per stored chunk, sorted by key: the
key, a space, the SHA-256 of the stored bytes in hexadecimal, a line feed.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

from attention_atlas.atlas.schema import ArraySpec, plain_json

_STRINGS = VLenUTF8()

# A higher level takes three times as long and hardly makes weights smaller.
LEVEL, TEXT_LEVEL = -1, 1
_ZSTD, _TEXT_ZSTD = (Zstd(level=level, checksum=True) for level in (LEVEL, TEXT_LEVEL))


def codecs(dtype: str) -> list[dict[str, Any]]:
    """Return the codecs of chunks of this dtype, or of texts if it is `str`."""
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
    """Yield the chunks of a block, each with its number along every axis; the last may be cut."""
    counts = [-(-length // size) for length, size in zip(block.shape, chunks, strict=True)]
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


DIGESTS = "digests"  # attribute of a group: the digest of each array


def chunk_digest(content: bytes) -> str:
    """Return the digest of the stored bytes of one chunk."""
    return hashlib.sha256(content).hexdigest()


def array_digest(chunks: Mapping[str, str]) -> str:
    """Return the digest of an array from those of its chunks, by keys such as `c.0.0`."""
    lines = (f"{key} {chunks[key]}\n" for key in sorted(chunks))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


SEPARATOR = "."  # all chunks of an array in one folder, because creating folders is slow


def group_json(attributes: Mapping[str, Any]) -> bytes:
    """Return the metadata of a group."""
    return _encode(
        {"attributes": plain_json(dict(attributes)), "zarr_format": 3, "node_type": "group"}
    )


def array_json(spec: ArraySpec, shape: tuple[int, ...], chunks: tuple[int, ...]) -> bytes:
    """Return the metadata of an array of this shape, cut into chunks of this one."""
    is_text = spec.dtype == "str"
    fill = spec.fill_value
    if not is_text:
        fill = np.dtype(spec.dtype).type(fill).item()
    return _encode(
        {
            "shape": list(shape),
            "data_type": "string" if is_text else spec.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": SEPARATOR}},
            "fill_value": plain_json(fill),
            "codecs": codecs(spec.dtype),
            "attributes": {"meaning": spec.meaning},
            "dimension_names": list(spec.dimensions),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }
    )


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode()
