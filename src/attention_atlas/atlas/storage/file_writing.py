"""Write the files of an atlas as bytes: into a folder directly, to a URL by a store of zarr.

Each file appears under its name only when it is whole.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from attention_atlas.atlas.schema import DRAFT
from attention_atlas.atlas.storage.locations import Location, local_path, open_store, reaching

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


class FileWriter(Protocol):
    """Files below a location, by keys such as `rank-0/length/c.0`."""

    def write(self, key: str, content: bytes) -> None:
        """Write a file, or put it in the place of the one that is there."""

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""


def write_files(location: Location) -> FileWriter:
    """Return what writes the files below a location."""
    path = local_path(location)
    return StoreWriter(str(location)) if path is None else LocalWriter(path)


class LocalWriter:
    """Writes files into a folder, and makes the folders that they lie in."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)

    def write(self, key: str, content: bytes) -> None:
        """Write a file beside its place, and move it there when it is whole."""
        path = f"{self._folder}/{key}"
        try:
            _replace(path, content)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _replace(path, content)

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._folder}/{key}")


def _replace(path: str, content: bytes) -> None:
    draft = f"{path}{DRAFT}"
    try:
        file = os.open(draft, _FLAGS, 0o666)
        try:
            written = os.write(file, content)
            while written < len(content):  # a disk that is nearly full takes a part first
                written += os.write(file, memoryview(content)[written:])
        finally:
            os.close(file)
        os.replace(draft, path)
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
        raise


class StoreWriter:
    """Writes files to a URL."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._store = open_store(location, read_only=False)

    def write(self, key: str, content: bytes) -> None:
        """Write a file, as a whole."""
        from zarr.core.buffer.cpu import Buffer
        from zarr.core.sync import sync

        with reaching(self._location):
            sync(self._store.set(key, Buffer.from_bytes(content)))

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""
        from zarr.core.sync import sync

        with reaching(self._location):
            sync(self._store.delete(key))
