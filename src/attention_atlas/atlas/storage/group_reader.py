"""Read the group of one rank: its committed rows, and the arrays of a row."""

from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.locations import Location
from attention_atlas.atlas.schema import METADATA, NOT_COMMITTED, RAGGED_DIMENSIONS, parse_metadata
from attention_atlas.atlas.storage.array_reader import (
    MAX_BYTES,
    DamagedChunkError,
    Region,
    StoredArray,
)
from attention_atlas.atlas.storage.codecs import DIGESTS
from attention_atlas.atlas.storage.files import Files
from attention_atlas.errors import InputError

# The arrays that are read on opening, `length` first: it is written last, so that a row that it
# shows as committed exists in all others, also while a writer is at work.
_INDEX_FILL = {"length": NOT_COMMITTED, "epoch": -1, "sample_id": ""}


class GroupReader:
    """Group of one rank, opened for reading.

    Attributes:
        location: Location of the atlas.
        name: Name of the group, such as `rank-0`.
        attributes: Attributes of the group.
        lengths: [n] number of tokens of each row; -1 if it is not committed.
        epochs: [n] epoch of each row.
        sample_ids: [n] name of the sample of each row.
        committed_rows: Indices of the committed rows, in increasing order.

    Raises:
        InputError: If the index of rows is damaged.
    """

    def __init__(self, location: Location, files: Files, name: str) -> None:
        self.location = location
        self.name = name
        self._files = files
        # Read before the index: a finished group has its complete index.
        self.attributes = self._read_attributes()
        while (error := self._read_rows()) is not None:
            # A writer that appends to a finished group rewrites its attributes before it commits,
            # so a mismatch is damage only if they are unchanged.
            before, self.attributes = self.attributes, self._read_attributes()
            if before == self.attributes:
                raise error

    def _read_rows(self) -> InputError | None:
        """Read the index of rows; return the error if it is damaged."""
        self._arrays: dict[str, StoredArray | None] = {}
        self.finished = bool(self.attributes.get("finished", False))
        self.lengths = self._read_index("length", None)
        self.epochs = self._read_index("epoch", len(self.lengths))
        names = self._read_index("sample_id", len(self.lengths))
        self.sample_ids: list[str] = list(map(str, names))
        committed = self.lengths != NOT_COMMITTED
        self.committed_rows: list[int] = np.flatnonzero(committed).tolist()
        return self._check_index(committed, names)

    def _read_attributes(self) -> dict[str, Any]:
        content, index = self._files.read(
            [f"{self.name}/{METADATA}", f"{self.name}/length/{METADATA}"]
        )
        if content is None and index is None:
            return {}  # a writer has just created the folder, or was killed then
        if content is None:  # a writer may have written both between the two reads
            (content,) = self._files.read([f"{self.name}/{METADATA}"])
        try:
            attributes: dict[str, Any] = parse_metadata(content).get("attributes", {})
        except (ValueError, AttributeError) as error:
            raise self.damage(f"{self.name}/{METADATA} cannot be read") from error
        return attributes

    @property
    def digests(self) -> dict[str, str]:
        """Digest of each array by its name; empty if none are stored."""
        stored = self.attributes.get(DIGESTS)
        return stored if isinstance(stored, dict) else {}

    def array(self, name: str) -> StoredArray | None:
        """Return an array of the group; None if it does not exist."""
        if name not in self._arrays:
            key = f"{self.name}/{name}"
            (metadata,) = self._files.read([f"{key}/{METADATA}"])
            if metadata is None:
                return self._arrays.setdefault(name, None)
            try:
                found = StoredArray(self._files, key, metadata, cache=name != "maps")
            except (ValueError, KeyError, AttributeError) as error:
                raise self.damage(f"{key} cannot be read ({error})") from error
            self._arrays[name] = found
        return self._arrays[name]

    def _read_index(self, name: str, num_rows: int | None) -> npt.NDArray[Any]:
        """Return an array of the index; a missing chunk holds fill values."""
        array = self.array(name)
        if array is None:
            if num_rows:
                raise self._damaged_index(name, "is missing")
            return np.zeros(0, dtype=np.int32)
        if len(array.shape) != 1:
            raise self._damaged_index(name, f"has {len(array.shape)} axes")
        num_rows = array.shape[0] if num_rows is None else num_rows
        try:
            needed = array.chunks_of([(0, num_rows)])
        except DamagedChunkError as error:
            raise self._damaged_index(name, str(error)) from error
        if len(needed) * array.chunks[0] * array.dtype.itemsize > MAX_BYTES:
            raise self._damaged_index(name, f"claims {len(needed)} chunks of {array.chunks[0]}")
        keys = [array.chunk_key(numbers) for numbers in needed]
        values = np.full(len(needed) * array.chunks[0], _INDEX_FILL[name], array.dtype)
        contents = self._read_in_order([f"{array.key}/{key}" for key in keys])
        for (number,), key, content in zip(needed, keys, contents, strict=True):
            if content is None:
                continue
            first = number * array.chunks[0]
            try:
                values[first : first + array.chunks[0]] = array.decode(key, content)
            except DamagedChunkError as error:
                raise self._damaged_index(name, str(error)) from error
        return values[:num_rows]

    def _read_in_order(self, keys: list[str]) -> list[bytes | None]:
        """Read chunks that a writer may be writing one after the other.

        A writer may commit two flushes between the reads of their chunks. So a chunk that is
        missing before an existing one is read again: by then it was written, or it is lost.
        """
        contents = self._files.read(keys)
        there = [number for number, content in enumerate(contents) if content is not None]
        gaps = [number for number in range(max(there, default=0)) if contents[number] is None]
        for number, content in zip(
            gaps, self._files.read([keys[number] for number in gaps]), strict=True
        ):
            contents[number] = content
        return contents

    def _damaged_index(self, name: str, what: str) -> InputError:
        return self.damage(f"{self.name}/{name} cannot be read, because it {what}")

    def _check_index(
        self, committed: npt.NDArray[np.bool_], names: npt.NDArray[Any]
    ) -> InputError | None:
        """Return the error of a missing chunk of the index, which reads as fill values."""
        last = self.committed_rows[-1] + 1 if self.committed_rows else 0
        has_name = np.asarray(names[:last] != "", dtype=bool)
        has_mark, has_epoch = committed[:last], self.epochs[:last] >= 0
        # Flushes are committed in order, so only the last may lack its commit mark.
        bad = np.flatnonzero(np.where(has_mark, ~(has_name & has_epoch), has_name))
        if len(bad):
            row = int(bad[0])
            lost = "length" if not has_mark[row] else "sample_id" if has_epoch[row] else "epoch"
            sample = repr(self.sample_ids[row]) if self.sample_ids[row] else f"of row {row}"
            return self.damage(f"a chunk of {self.name}/{lost} with the sample {sample} is missing")
        count = self.attributes.get("committed")
        if self.finished and count is not None and count != len(self.committed_rows):
            shown = len(self.committed_rows)
            return self.damage(f"{self.name} committed {count} samples and shows {shown}")
        return None

    def read(self, name: str, row: int) -> Any:
        """Return the values of a row, trimmed to the sizes of the sample.

        They may be a view of a cached chunk, so they must not be changed.

        Raises:
            InputError: If the chunk that holds it is missing or damaged; it names the sample.
        """
        array = self.array(name)
        if array is None:
            raise self._damaged_row(name, row, "is missing")
        try:
            values = array.read(self.region(array, row))
        except (DamagedChunkError, OSError) as error:
            raise self._damaged_row(name, row, str(error)) from error
        return values[0]

    def region(self, array: StoredArray, row: int) -> Region:
        """Return the region of an array that holds a row."""
        sizes = zip(array.dimensions[1:], array.shape[1:], strict=True)
        return [(row, row + 1), *((0, self._size(name, size, row)) for name, size in sizes)]

    def _size(self, dimension: str, size: int, row: int) -> int:
        """Return the size of a sample along a dimension."""
        if dimension not in RAGGED_DIMENSIONS:
            return size
        return int(self.read("frames", row) if dimension == "frame" else self.lengths[row])

    def _damaged_row(self, name: str, row: int, what: str) -> InputError:
        return self.damage(f"{self.name}/{name} of the sample {self.sample_ids[row]!r} {what}")

    def damage(self, what: str) -> InputError:
        """Return the error that says what is damaged."""
        return InputError(f"The atlas {self.location} is damaged: {what}. Record the maps again.")
