"""Read an array of an atlas by whole chunks, and notice those that are missing or damaged.

Zarr itself reads a chunk that is not there as fill values, silently, and takes each through its
event loop. The codecs here are those that the format names: `bytes` (little endian) or `vlen-utf8`,
then `zstd`.
"""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

from attention_atlas.atlas.files import Files
from attention_atlas.atlas.schema import METADATA

Numbers = tuple[int, ...]  # of a chunk, one along each axis
Region = Sequence[tuple[int, int]]  # start and stop along each axis

_ZSTD = Zstd()
_STRINGS = VLenUTF8()


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
            self.shape: Numbers = tuple(content["shape"])
            self.chunks: Numbers = tuple(content["chunk_grid"]["configuration"]["chunk_shape"])
            self.dimensions = tuple(map(str, content["dimension_names"]))
            self.is_text = content["data_type"] == "string"
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
        self._separator = str(options.get("separator", "/"))

    def chunk_key(self, numbers: Numbers) -> str:
        """Return the key of a chunk within the array's folder, such as `c.0.0`."""
        return self._separator.join(("c", *map(str, numbers)))

    def chunks_of(self, region: Region) -> list[Numbers]:
        """Return the numbers of all chunks that hold part of a region."""
        ranges = (
            range(start // size, -(-stop // size))
            for (start, stop), size in zip(region, self.chunks, strict=True)
        )
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
        try:
            plain = _ZSTD.decode(content)
            values = (
                _STRINGS.decode(plain)
                if self.is_text
                else np.frombuffer(plain, self.dtype.newbyteorder("<"))
            )
            shaped: npt.NDArray[Any] = values.reshape(self.chunks)
        # A wrong size in the head of a damaged chunk may ask for more memory than there is.
        except (RuntimeError, ValueError, MemoryError) as error:
            raise DamagedChunkError(f"cannot be decoded (chunk {self.key}/{key})") from error
        return shaped
