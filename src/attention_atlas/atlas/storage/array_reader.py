"""Read an array of an atlas by whole chunks, and notice those that are missing or damaged.

Zarr itself reads a chunk that is not there as fill values, silently, and takes each through its
event loop. The codecs here are those that the format names: `bytes` (little endian) or `vlen-utf8`,
then `zstd`.
"""

import itertools
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

from attention_atlas.atlas.schema import METADATA
from attention_atlas.atlas.storage.files import Files

Numbers = tuple[int, ...]  # of a chunk, one along each axis
Region = Sequence[tuple[int, int]]  # start and stop along each axis

_ZSTD = Zstd()
_STRINGS = VLenUTF8()
_NUMBERS = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")

# An atlas may come from someone else, and a few bytes of it may ask for a lot of memory.
MOST_BYTES = 2**31  # of a decoded chunk, and of an array that is read whole
MOST_CHUNKS = 2**22  # that are read together


class DamagedChunkError(Exception):
    """A chunk is missing or cannot be decoded; the message says which of the two."""


class StoredArray:
    """One array of a rank's group.

    The decoded chunks of one flush are kept, so that reading its rows in order decodes each once.

    Args:
        files: Below the root of the atlas.
        key: Of the array's folder, such as `rank-0/readout`.
        metadata: What the folder's `zarr.json` holds.
        keep: Whether decoded chunks are kept.

    Raises:
        ValueError: If the metadata are none of an array of this format.
    """

    def __init__(self, files: Files, key: str, metadata: bytes, keep: bool = True) -> None:
        content = json.loads(metadata)
        self.key = key
        self._files = files
        self._keep = keep
        self._kept: tuple[int, dict[Numbers, npt.NDArray[Any]]] = (-1, {})
        try:
            self.shape = _sizes(content["shape"], least=0)
            self.chunks = _sizes(content["chunk_grid"]["configuration"]["chunk_shape"], least=1)
            self.dimensions = tuple(map(str, content["dimension_names"]))
            self.is_text = content["data_type"] == "string"
            if not self.is_text and not _NUMBERS.fullmatch(content["data_type"]):
                raise ValueError(f"it holds values of type {content['data_type']!r}")
            self.dtype = np.dtype(object if self.is_text else content["data_type"])
            codecs = [codec["name"] for codec in content["codecs"]]
            encoding = content["chunk_key_encoding"]
            options = encoding.get("configuration", {})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its {METADATA} is none of an array") from error
        if codecs != ["vlen-utf8" if self.is_text else "bytes", "zstd"]:
            raise ValueError(f"it has the codecs {codecs}")
        if encoding["name"] != "default":
            raise ValueError(f"it names its chunks by {encoding['name']!r}")
        self._separator: str = options.get("separator", "/")
        if self._separator not in (".", "/"):  # which could lead out of the folder
            raise ValueError(f"it names its chunks with {self._separator!r}")
        if not len(self.shape) == len(self.chunks) == len(self.dimensions):
            raise ValueError(f"its {METADATA} is none of an array")
        self._chunk_bytes = math.prod(self.chunks) * self.dtype.itemsize

    def chunk_key(self, numbers: Numbers) -> str:
        """Return the key of a chunk within the array's folder, such as `c.0.0`."""
        return self._separator.join(("c", *map(str, numbers)))

    def chunks_of(self, region: Region) -> list[Numbers]:
        """Return the numbers of all chunks that hold part of a region.

        Raises:
            DamagedChunkError: If they are more than any atlas has there.
        """
        ranges = [
            range(start // size, -(-stop // size))
            for (start, stop), size in zip(region, self.chunks, strict=True)
        ]
        if math.prod(map(len, ranges)) > MOST_CHUNKS:
            raise DamagedChunkError(f"claims more than {MOST_CHUNKS} chunks")
        return list(itertools.product(*ranges))

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Return a region; it may be a view of decoded chunks that are kept, or read-only.

        Raises:
            DamagedChunkError: If a chunk that holds part of it is missing or cannot be decoded.
        """
        needed = self.chunks_of(region)
        decoded = self._decoded(needed)
        if len(needed) == 1:
            return decoded[0][self._overlap(region, needed[0])[1]]
        values = np.empty([stop - start for start, stop in region], self.dtype)
        for numbers, chunk in zip(needed, decoded, strict=True):
            into, part = self._overlap(region, numbers)
            values[into] = chunk[part]
        return values

    def _overlap(
        self, region: Region, numbers: Numbers
    ) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return where a chunk goes within a region, and which part of the chunk."""
        into, part = [], []
        for (start, stop), number, size in zip(region, numbers, self.chunks, strict=True):
            first, last = max(start, number * size), min(stop, (number + 1) * size)
            into.append(slice(first - start, last - start))
            part.append(slice(first - number * size, last - number * size))
        return tuple(into), tuple(part)

    def _decoded(self, needed: list[Numbers]) -> list[npt.NDArray[Any]]:
        if not self._keep or not needed:
            return self._decode(needed)
        flush, kept = self._kept
        if flush != needed[0][0]:
            flush, kept = needed[0][0], {}
        new = [numbers for numbers in needed if numbers not in kept]
        kept.update(zip(new, self._decode(new), strict=True))
        self._kept = flush, kept  # replaced as one, for two threads that read
        return [kept[numbers] for numbers in needed]

    def _decode(self, needed: list[Numbers]) -> list[npt.NDArray[Any]]:
        keys = [self.chunk_key(numbers) for numbers in needed]
        contents = self._files.read([f"{self.key}/{key}" for key in keys])
        return [self.decode(key, content) for key, content in zip(keys, contents, strict=True)]

    def decode(self, key: str, content: bytes | None) -> npt.NDArray[Any]:
        """Return the values of a chunk from its stored bytes; None is a chunk that is missing."""
        if content is None:
            raise DamagedChunkError(f"is missing (chunk {self.key}/{key})")
        size = decoded_size(content)
        if size is None or size > MOST_BYTES or not (self.is_text or size == self._chunk_bytes):
            raise DamagedChunkError(
                f"cannot be decoded (chunk {self.key}/{key} claims {size or 'unknown'} bytes)"
            )
        try:
            plain = _ZSTD.decode(content)
            if not self.is_text:
                values = np.frombuffer(plain, self.dtype.newbyteorder("<"))
            elif int.from_bytes(plain[:4], "little") == math.prod(self.chunks):
                values = _STRINGS.decode(plain)
            else:
                raise ValueError("another number of texts")
            shaped: npt.NDArray[Any] = values.reshape(self.chunks)
        # A wrong size in the head of a damaged chunk may ask for more memory than there is.
        except (RuntimeError, ValueError, MemoryError) as error:
            raise DamagedChunkError(f"cannot be decoded (chunk {self.key}/{key})") from error
        return shaped


def decoded_size(content: bytes) -> int | None:
    """Return the bytes that a chunk decodes to, as its head says; None where it does not say.

    By the frame header of Zstandard, RFC 8878, section 3.1.1.1.
    """
    if len(content) < 6 or content[:4] != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = content[4]
    single, kind = bool(descriptor & 0x20), descriptor >> 6
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    length = (int(single), 2, 4, 8)[kind]
    field = content[start : start + length]
    if not length or len(field) < length:
        return None
    return int.from_bytes(field, "little") + (256 if kind == 1 else 0)


def _sizes(values: Any, least: int) -> Numbers:
    """Return the sizes along the axes of an array."""
    if not all(type(value) is int and value >= least for value in values):
        raise ValueError(f"it has the sizes {values}")
    return tuple(values)
