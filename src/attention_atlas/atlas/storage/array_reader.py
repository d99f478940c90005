"""Read an array of an atlas by whole chunks, and detect missing or damaged ones.

Zarr itself silently reads a missing chunk as fill values, and reads each through its event loop.
"""

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

from attention_atlas.atlas.schema import METADATA, parse_metadata
from attention_atlas.atlas.storage.files import Files

Numbers = tuple[int, ...]  # index of a chunk along each axis
Region = Sequence[tuple[int, int]]  # start and stop along each axis

_ZSTD = Zstd()
_STRINGS = VLenUTF8()
_NUMBERS = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")

# An atlas is untrusted data: a few bytes of it may ask for a lot of memory.
MAX_BYTES = 2**31  # of a decoded chunk, and of an array that is read completely
MAX_CHUNKS = 2**22  # that are read together


class DamagedChunkError(Exception):
    """A chunk is missing or cannot be decoded; the message says which of the two."""


class StoredArray:
    """One array of a rank's group.

    Its key is that of its folder, such as `rank-0/readout`, and its metadata the content of
    `zarr.json`. With `cache` the decoded chunks of one flush are cached, so that reading its rows
    in order decodes each once.

    Raises:
        ValueError: If the metadata does not describe an array of this format.
    """

    def __init__(self, files: Files, key: str, metadata: bytes, cache: bool = True) -> None:
        content = parse_metadata(metadata)
        self.key = key
        self._files = files
        self._use_cache = cache
        self._cached: tuple[int, dict[Numbers, npt.NDArray[Any]]] = (-1, {})
        try:
            self.shape = _sizes(content["shape"], minimum=0)
            self.chunks = _sizes(content["chunk_grid"]["configuration"]["chunk_shape"], minimum=1)
            self.dimensions = tuple(map(str, content["dimension_names"]))
            self.is_text = content["data_type"] == "string"
            if not self.is_text and not _NUMBERS.fullmatch(content["data_type"]):
                raise ValueError(f"it holds values of type {content['data_type']!r}")
            self.dtype = np.dtype(object if self.is_text else content["data_type"])
            codecs = [codec["name"] for codec in content["codecs"]]
            encoding = content["chunk_key_encoding"]
            options = encoding.get("configuration", {})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its {METADATA} is not one of an array") from error
        if codecs != ["vlen-utf8" if self.is_text else "bytes", "zstd"]:
            raise ValueError(f"it has the codecs {codecs}")
        if encoding["name"] != "default":
            raise ValueError(f"it names its chunks by {encoding['name']!r}")
        self._separator: str = options.get("separator", "/")
        if self._separator not in (".", "/"):  # which could lead out of the folder
            raise ValueError(f"it names its chunks with {self._separator!r}")
        if not len(self.shape) == len(self.chunks) == len(self.dimensions):
            raise ValueError(f"its {METADATA} is not one of an array")
        self._chunk_bytes = math.prod(self.chunks) * self.dtype.itemsize

    def chunk_key(self, numbers: Numbers) -> str:
        """Return the key of a chunk within the array's folder, such as `c.0.0`."""
        return self._separator.join(("c", *map(str, numbers)))

    def chunks_of(self, region: Region) -> list[Numbers]:
        """Return the indices of all chunks that overlap a region.

        Raises:
            DamagedChunkError: If there are more than an atlas may have.
        """
        ranges = [
            range(start // size, -(-stop // size))
            for (start, stop), size in zip(region, self.chunks, strict=True)
        ]
        if math.prod(map(len, ranges)) > MAX_CHUNKS:
            raise DamagedChunkError(f"claims more than {MAX_CHUNKS} chunks")
        return list(itertools.product(*ranges))

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Return a region; it may be a view of cached chunks, or read-only.

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
        if not self._use_cache or not needed:
            return self._decode(needed)
        flush, cached = self._cached
        if flush != needed[0][0]:
            flush, cached = needed[0][0], {}
        new = [numbers for numbers in needed if numbers not in cached]
        cached.update(zip(new, self._decode(new), strict=True))
        self._cached = flush, cached  # one assignment, for threads that read at the same time
        return [cached[numbers] for numbers in needed]

    def _decode(self, needed: list[Numbers]) -> list[npt.NDArray[Any]]:
        keys = [self.chunk_key(numbers) for numbers in needed]
        contents = self._files.read([f"{self.key}/{key}" for key in keys])
        return [self.decode(key, content) for key, content in zip(keys, contents, strict=True)]

    def decode(self, key: str, content: bytes | None) -> npt.NDArray[Any]:
        """Return the values of a chunk from its stored bytes; None is a missing chunk."""
        if content is None:
            raise DamagedChunkError(f"is missing (chunk {self.key}/{key})")
        size = decoded_size(content)
        if size is None or size > MAX_BYTES or not (self.is_text or size == self._chunk_bytes):
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
        # A wrong size in the header of a damaged chunk may ask for more memory than there is.
        except (RuntimeError, ValueError, MemoryError) as error:
            raise DamagedChunkError(f"cannot be decoded (chunk {self.key}/{key})") from error
        return shaped


def decoded_size(content: bytes) -> int | None:
    """Return the decoded size of a chunk in bytes from its header; None if it has no size.

    The frame header of Zstandard is defined in RFC 8878, section 3.1.1.1.
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


def _sizes(values: Any, minimum: int) -> Numbers:
    """Return the sizes along the axes of an array."""
    if not all(type(value) is int and value >= minimum for value in values):
        raise ValueError(f"it has the sizes {values}")
    return tuple(values)
