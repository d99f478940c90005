"""Write the group of one rank, its arrays, chunks and digests, in a background thread."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.locations import DRAFT
from attention_atlas.atlas.schema import COMMIT_ARRAYS, METADATA, ArraySpec
from attention_atlas.atlas.storage.array_reader import StoredArray
from attention_atlas.atlas.storage.codecs import (
    SEPARATOR,
    array_digest,
    array_json,
    chunk_digest,
    cut,
    encode,
    group_json,
)
from attention_atlas.atlas.storage.files import Files
from attention_atlas.atlas.storage.row_buffer import RowBuffer
from attention_atlas.errors import InputError

MAX_WAITING_BYTES = 64 * 2**20  # of the waiting jobs, unless a single job holds more
MAX_MAP_CHUNK_BYTES = 4 * 2**20  # the maps of a larger sample have one chunk per layer


@dataclass
class _Array:
    """An array and its current shape."""

    spec: ArraySpec
    shape: tuple[int, ...]
    chunks: tuple[int, ...]


class GroupWriter:
    """Writes the files of one rank's group, all of them from one thread at a time.

    Attributes:
        committed: Number of samples whose commit mark is written.
    """

    def __init__(self, files: Files, name: str, with_digests: bool) -> None:
        self.name = name
        self.committed = 0
        self._files = files
        self._arrays: dict[str, _Array] = {}
        self._digests: dict[str, dict[str, str]] | None = {} if with_digests else None

    def write_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Write the attributes of the group, or replace them."""
        self._files.write(f"{self.name}/{METADATA}", group_json(attributes))

    def create(
        self, specs: Mapping[str, ArraySpec], sizes: Mapping[str, int], steps: Mapping[str, int]
    ) -> None:
        """Write the metadata of all arrays."""
        # The commit mark is created last, too: without it a group is empty.
        names = [name for name in specs if name not in COMMIT_ARRAYS]
        for name in (*names, *COMMIT_ARRAYS):
            spec = specs[name]
            shape = tuple(sizes[dimension] for dimension in spec.dimensions)
            self._arrays[name] = _Array(spec, shape, _chunks_of(name, spec, steps))
            self._write_metadata(name)

    def reuse(
        self, specs: Mapping[str, ArraySpec], arrays: Mapping[str, StoredArray], first_row: int
    ) -> None:
        """Append to stored arrays from a row on.

        Drafts and the uncommitted chunks from there on are removed; the others are digested.
        """
        for name, array in arrays.items():
            self._arrays[name] = _Array(specs[name], array.shape, array.chunks)
            folder = f"{self.name}/{name}"
            for key in self._files.names(folder):
                is_draft = key.endswith(DRAFT)
                if not is_draft and not key.startswith(f"c{SEPARATOR}"):
                    continue  # the metadata, or a file of another program
                number = key.removesuffix(DRAFT).split(SEPARATOR)[1]
                if is_draft or int(number) * array.chunks[0] >= first_row:
                    self._files.remove(f"{folder}/{key}")
                elif self._digests is not None:
                    (content,) = self._files.read([f"{folder}/{key}"])
                    self._add_digest(name, key, content or b"")

    def check_digests(self, stored: Mapping[str, str], location: object) -> None:
        """Check that the stored chunks match the stored digests.

        Raises:
            InputError: If they do not.
        """
        found = self.digests() or {}
        for name, digest in stored.items():
            if found.get(name) != digest:
                raise InputError(
                    f"The atlas {location} is damaged: {self.name}/{name} is not as it was "
                    "written. Record the maps again."
                )

    def resize(self, sizes: Mapping[str, int]) -> None:
        """Resize the arrays along these dimensions."""
        for name, array in self._arrays.items():
            old = zip(array.spec.dimensions, array.shape, strict=True)
            shape = tuple(sizes.get(dimension, size) for dimension, size in old)
            if shape != array.shape:
                array.shape = shape
                self._write_metadata(name)

    def write_maps(self, maps: Mapping[int, npt.NDArray[Any]]) -> None:
        """Write maps [L, H, Q, K] by their row; they count once the row is committed."""
        array = self._arrays["maps"]
        for row, of_row in maps.items():
            queries, keys = (
                -(-size // step) * step
                for size, step in zip(of_row.shape[2:], array.chunks[3:], strict=True)
            )
            padded = np.zeros((1, *of_row.shape[:2], queries, keys), dtype=array.spec.dtype)
            padded[0, :, :, : of_row.shape[2], : of_row.shape[3]] = of_row
            self._write_block("maps", row, padded)

    def commit(self, flush: RowBuffer) -> None:
        """Write the rows of a flush, the commit mark last."""
        names = [name for name in flush.blocks if name not in COMMIT_ARRAYS]
        for name in (*names, *COMMIT_ARRAYS):
            self._write_block(name, flush.first_row, flush.blocks[name][: flush.num_rows])
        self.committed += flush.num_rows

    def digests(self) -> dict[str, str] | None:
        """Return the digest of every array, or None if they are not computed."""
        if self._digests is None:
            return None
        return {name: array_digest(self._digests.get(name, {})) for name in self._arrays}

    def _write_metadata(self, name: str) -> None:
        array = self._arrays[name]
        content = array_json(array.spec, array.shape, array.chunks)
        self._files.write(f"{self.name}/{name}/{METADATA}", content)

    def _write_block(self, name: str, first_row: int, block: npt.NDArray[Any]) -> None:
        """Write the chunks of a block, with fill values in the rows that it lacks."""
        array = self._arrays[name]
        first = first_row // array.chunks[0]
        for numbers, chunk in cut(block, array.chunks):
            key = SEPARATOR.join(("c", str(first + numbers[0]), *map(str, numbers[1:])))
            if len(chunk) < array.chunks[0]:
                rows, chunk = chunk, np.full(array.chunks, array.spec.fill_value, chunk.dtype)
                chunk[: len(rows)] = rows
            content = encode(chunk)
            self._files.write(f"{self.name}/{name}/{key}", content)
            self._add_digest(name, key, content)

    def _add_digest(self, name: str, key: str, content: bytes) -> None:
        if self._digests is not None:
            self._digests.setdefault(name, {})[key] = chunk_digest(content)


def _chunks_of(name: str, spec: ArraySpec, steps: Mapping[str, int]) -> tuple[int, ...]:
    chunks = [steps.get(dimension, 1) for dimension in spec.dimensions]
    if name == "maps":
        chunks[0] = 1
        if np.prod(chunks) * np.dtype(spec.dtype).itemsize > MAX_MAP_CHUNK_BYTES:
            chunks[1] = 1
    return tuple(chunks)


class BackgroundWriter:
    """Runs jobs one after the other in a thread of its own.

    After a job fails, no further job runs, and every later call raises its error. Waiting jobs
    still run when the program exits.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="atlas")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._num_bytes = 0
        self._error: Exception | None = None

    def put(self, job: Callable[[], None], num_bytes: int = 0) -> None:
        """Submit a job; wait for earlier ones while more than `MAX_WAITING_BYTES` wait."""
        while self._waiting and (
            self._waiting[0][0].done() or self._num_bytes + num_bytes > MAX_WAITING_BYTES
        ):
            self._wait_for_first()
        self._raise()
        self._waiting.append((self._executor.submit(self._run, job), num_bytes))
        self._num_bytes += num_bytes

    def wait(self) -> None:
        """Wait until every job is done."""
        while self._waiting:
            self._wait_for_first()
        self._raise()

    def stop(self) -> None:
        """Finish what waits and end the thread, whether or not a job failed."""
        self._executor.shutdown()

    def _run(self, job: Callable[[], None]) -> None:
        if self._error is None:
            try:
                job()
            except Exception as error:  # raised in the thread that submits jobs
                self._error = error

    def _wait_for_first(self) -> None:
        future, num_bytes = self._waiting.popleft()
        future.result()
        self._num_bytes -= num_bytes

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
