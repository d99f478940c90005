"""Write an atlas so that a process killed at any moment leaves no half-written sample.

The small arrays of a flush share one chunk each, and no two flushes share a chunk. Within a flush
`sample_id` and then `length` are written last: a row counts once its `length` is there. One thread
encodes and writes in the background, in the order in which samples were added.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

import numpy as np

from attention_atlas.atlas.captured_batch import CapturedBatch
from attention_atlas.atlas.locations import Location
from attention_atlas.atlas.schema import (
    MAP_DTYPES,
    METADATA,
    AtlasAttributes,
    CapturedSample,
    array_specs,
)
from attention_atlas.atlas.storage.append import StoredGroup, check_same, read_group
from attention_atlas.atlas.storage.codecs import DIGESTS, group_json
from attention_atlas.atlas.storage.files import open_files
from attention_atlas.atlas.storage.group_writer import BackgroundWriter, GroupWriter
from attention_atlas.atlas.storage.row_buffer import RowBuffer, max_rows
from attention_atlas.errors import InputError

ROWS_PER_FLUSH = 128
TOKEN_STEP = 128  # the token axes grow by this much if the maximum length is not known
LIBRARIES = ("attention-atlas", "torch", "lightning", "transformers", "numpy", "zarr")


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that make an atlas, without importing any of them."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


class AtlasWriter:
    """Writes the samples of one rank into its own group of an atlas.

    Each rank has one writer at a time; that of rank 0 also writes the attributes of the root.
    Samples are committed `rows_per_flush` at a time, and the rest on `flush()` or `close()`. Used
    as a context manager it closes the atlas unless an exception passes through.

    Args:
        location: Location of the atlas: a path, usually `<run>/atlas.zarr`, or a URL of fsspec.
        attributes: Attributes of every sample.
        rank: Rank of this process.
        max_tokens: Largest expected K. Chunks have this size along token axes; a longer sample is
            stored in more chunks.
        num_samples: Expected number of samples of this writer; any other number is stored as
            well, at the cost of rewriting the metadata of all arrays.
        maps_dtype: `float16` or `float32`, for the full maps alone: readout rows and statistics
            are always float32.
        rows_per_flush: Largest number of samples that are committed together; fewer if they are
            large.
        digests: Whether a SHA-256 of each array is stored, by which damage is found later.
        append: Whether to append to the samples of an existing group. The attributes that define
            how the atlas is read must be the same; the chunk sizes stay, and config and checkpoint
            digest become those of this writer.

    Raises:
        InputError: If the atlas already holds this rank, cannot be appended to, or cannot be
            written.
    """

    def __init__(
        self,
        location: Location,
        attributes: AtlasAttributes,
        *,
        rank: int = 0,
        max_tokens: int | None = None,
        num_samples: int | None = None,
        maps_dtype: str = "float16",
        rows_per_flush: int = ROWS_PER_FLUSH,
        digests: bool = False,
        append: bool = False,
    ) -> None:
        if maps_dtype not in MAP_DTYPES:
            raise InputError(f"Maps cannot be stored as {maps_dtype!r}: use float16 or float32.")
        self.location = location
        self.attributes = attributes
        self.rank = rank
        self.maps_dtype = maps_dtype
        self.rows_per_flush = rows_per_flush
        self._max_tokens = max_tokens
        self._num_samples = num_samples
        self._sizes: dict[str, int] = {}
        self._steps: dict[str, int] = {}
        self._flush: RowBuffer | None = None
        self._next_row = 0  # of the next flush
        self._last_row = 0  # index after the last row that was submitted
        self._is_closed = False
        self._files = open_files(location)
        self._group = GroupWriter(self._files, f"rank-{rank}", digests)
        stored = self._find_group(append)
        self._background = BackgroundWriter()
        with self._user_errors():
            if stored is not None:
                self._append_to(stored)
            if rank == 0:
                root = attributes.to_json()
                root["versions"] = root["versions"] or library_versions()
                self._files.write(METADATA, group_json(root))
            self._group.write_attributes(self._state(finished=False))

    @property
    def committed(self) -> int:
        """Samples of this group that are committed; they stay, whatever happens."""
        return self._group.committed

    def _find_group(self, append: bool) -> StoredGroup | None:
        """Return the stored group; None if it does not exist or is empty."""
        files, name = self._files, self._group.name
        if append:
            check_same(self.location, files, self.attributes)
            return read_group(self.location, files, name, self.attributes, self.maps_dtype)
        if files.read([f"{name}/{METADATA}"]) != [None]:
            raise InputError(
                f"{self.location} already holds {name}: write to a new folder, or remove this one."
            )
        return None

    def _append_to(self, stored: StoredGroup) -> None:
        """Continue a stored group, without the rows that were never committed."""
        self.rows_per_flush = stored.rows_per_flush
        self._sizes, self._steps = dict(stored.sizes), dict(stored.steps)
        self._last_row = stored.last_row
        self._next_row = _round_up(stored.last_row, stored.rows_per_flush)
        self._group.committed = stored.committed
        self._group.reuse(stored.specs, stored.arrays, self._next_row)
        if self._group.digests() is not None and stored.digests:
            self._group.check_digests(stored.digests, self.location)
        self._specs = stored.specs
        if self._num_samples:
            self._num_samples += self._next_row

    def _state(self, finished: bool) -> dict[str, Any]:
        state = {
            "rank": self.rank,
            "rows_per_flush": self.rows_per_flush,
            "committed": self._group.committed if finished else None,
            "finished": finished,
        }
        digests = self._group.digests() if finished else None
        return state if digests is None else state | {DIGESTS: digests}

    def add(self, samples: Iterable[CapturedSample]) -> None:
        """Add samples; every `rows_per_flush` samples are committed.

        It returns when all complete flushes are written.

        Raises:
            ValueError: If a sample does not fit the first one or the attributes.
            InputError: If the atlas cannot be written, for instance because the disk is full.
        """
        for sample in samples:
            self.add_batch(CapturedBatch.of(sample))
        with self._user_errors():
            self._background.wait()

    def add_batch(self, batch: CapturedBatch) -> None:
        """Add a batch of samples, which is written in the background; errors as in `add`.

        Its maps must not be changed afterwards. An error may be raised by a later call, or by
        `close`.
        """
        if self._is_closed:
            raise ValueError(f"The writer of {self.location} is closed.")
        batch.check(self.attributes, self._sizes or batch.sizes(self.attributes))
        if not len(batch):
            return
        with self._user_errors():
            if not self._sizes:
                self._create_arrays(batch)
            columns = {name: batch.column(name) for name in self._specs if name != "maps"}
            first, step = 0, max_rows(self._specs, batch.sizes(self.attributes), len(batch))
            while first < len(batch):
                if self._flush is None:
                    self._flush = RowBuffer(self._specs, self._sizes, self._steps, self._next_row)
                flush = self._flush
                last = min(len(batch), first + min(step, flush.num_free))
                self._buffer(flush, batch, columns, slice(first, last))
                first = last

    def flush(self, wait: bool = True) -> None:
        """Commit all added samples, even if the flush is not full; `wait` until they are written.

        Raises:
            InputError: If the atlas cannot be written.
        """
        with self._user_errors():
            self._submit()
            if wait:
                self._background.wait()

    def close(self) -> None:
        """Commit the remaining samples and mark the group as finished.

        Raises:
            InputError: If the atlas cannot be written.
        """
        if self._is_closed:
            return
        try:
            self.flush()
            with self._user_errors():
                if self._sizes:
                    self._sizes["sample"] = self._last_row
                    self._group.resize({"sample": self._last_row})
                self._group.write_attributes(self._state(finished=True))
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop without marking the group as finished; full flushes are still committed."""
        self._is_closed = True
        self._background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.stop()

    @contextmanager
    def _user_errors(self) -> Iterator[None]:
        """Raise errors of writing as an `InputError`; the committed samples stay readable."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"{self.location} cannot be written: {reason}.") from error

    def _create_arrays(self, batch: CapturedBatch) -> None:
        dtype = "float32" if batch.spectrogram is None else batch.spectrogram.dtype.name
        self._specs = array_specs(self.attributes, self.maps_dtype, dtype)
        self._sizes = batch.sizes(self.attributes) | {"sample": self._num_samples or 0}
        self._steps = {name: size for name, size in self._sizes.items() if size}
        if self._max_tokens:
            tokens = self._max_tokens
        elif self.attributes.token_layout == "patch_box":
            tokens = self._sizes["key"]
        else:
            tokens = _round_up(self._sizes["key"], TOKEN_STEP)
        for name in ("query", "key"):
            self._steps[name] = self._sizes[name] = max(tokens, 1)
        rows = max_rows(self._specs, self._sizes, self.rows_per_flush)
        if rows < self.rows_per_flush:
            self.rows_per_flush = rows
            state = self._state(finished=False)
            self._background.put(partial(self._group.write_attributes, state))
        self._steps["sample"] = rows
        self._background.put(
            partial(self._group.create, self._specs, dict(self._sizes), dict(self._steps))
        )

    def _buffer(
        self, flush: RowBuffer, batch: CapturedBatch, columns: Mapping[str, Any], rows: slice
    ) -> None:
        """Copy some samples of a batch into the buffer, which has enough free rows."""
        first_row = flush.first_row + flush.num_rows
        self._make_room(batch, columns, rows, first_row)
        flush.add(columns, rows)
        maps = {
            first_row + index - rows.start: array
            for index, array in batch.maps.items()
            if rows.start <= index < rows.stop and array.size
        }
        if maps:
            # Written at once, so that maps do not accumulate in memory: readers ignore them until
            # the commit mark is written.
            num_bytes = sum(array.nbytes for array in maps.values())
            self._background.put(partial(self._group.write_maps, maps), num_bytes)
        if flush.is_full:
            self._submit()

    def _submit(self) -> None:
        """Submit the buffered rows to be committed."""
        flush, self._flush = self._flush, None
        if flush is None:
            return
        self._next_row = flush.first_row + self.rows_per_flush
        self._last_row = flush.first_row + flush.num_rows
        self._background.put(partial(self._group.commit, flush), flush.num_bytes)

    def _make_room(
        self, batch: CapturedBatch, columns: Mapping[str, Any], rows: slice, first_row: int
    ) -> None:
        """Grow the arrays until the samples fit."""
        needed = {"sample": first_row + rows.stop - rows.start}
        needed["key"] = needed["query"] = int(np.max(columns["length"][rows]))
        if batch.spectrogram is not None:
            needed["frame"] = int(np.max(columns["frames"][rows]))
        grown = {}
        for name, size in needed.items():
            if size > self._sizes[name]:
                # Rows are doubled, because each resize rewrites the metadata of every array.
                wanted = max(2 * size, self._num_samples or 0) if name == "sample" else size
                grown[name] = _round_up(wanted, self._steps[name])
        if grown:
            self._sizes.update(grown)
            self._background.put(partial(self._group.resize, grown))


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step
