"""Read the files of an atlas as bytes: from a folder directly, from a URL by a store of zarr.

A store of zarr takes each file through its event loop, which costs about a millisecond; a folder
needs neither that nor zarr.
"""

import asyncio
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attention_atlas.atlas.storage.locations import Location, local_path, open_store, reaching

if TYPE_CHECKING:
    from zarr.abc.store import Store

AT_ONCE = 64  # files that are asked for at the same time, where each takes a way over a network


class Files(Protocol):
    """Files below a location, by keys such as `rank-0/length/c.0`."""

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what the files hold; None for each that is not there."""

    def names(self, key: str) -> list[str]:
        """Return the names of files and folders in the folder of this key, or none."""

    def sizes(self) -> Iterator[tuple[int, float | None]]:
        """Return the bytes of each file, and the time of its last change where that is known."""


def open_files(location: Location) -> Files:
    """Return the files below a location."""
    path = local_path(location)
    return StoreFiles(str(location)) if path is None else LocalFiles(path)


def read_file(location: Location, name: str) -> bytes | None:
    """Return what a file in the folder at this location holds; None if it is not there."""
    return open_files(location).read([name])[0]


class LocalFiles:
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what the files hold; None for each that is not there."""
        return [self._read(key) for key in keys]

    def _read(self, key: str) -> bytes | None:
        path = f"{self._folder}/{key}"
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a device has no end
                return None
            with open(path, "rb") as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def names(self, key: str) -> list[str]:
        """Return the names of files and folders in the folder of this key, or none."""
        try:
            return os.listdir(f"{self._folder}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self) -> Iterator[tuple[int, float | None]]:
        """Return the bytes of each file and the time of its last change."""
        folders = [self._folder]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        state = entry.stat()
                        yield state.st_size, state.st_mtime


class StoreFiles:
    """Files at a URL."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._store: Store = open_store(location, read_only=True)

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what the files hold; None for each that is not there."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        prototype = default_buffer_prototype()

        async def fetch() -> list[bytes | None]:
            found: list[bytes | None] = []
            for first in range(0, len(keys), AT_ONCE):
                some = keys[first : first + AT_ONCE]
                buffers = await asyncio.gather(*(self._store.get(key, prototype) for key in some))
                found += [None if buffer is None else buffer.to_bytes() for buffer in buffers]
            return found

        with reaching(self._location):
            return sync(fetch())

    def names(self, key: str) -> list[str]:
        """Return the names of files and folders in the folder of this key, or none."""
        from zarr.core.sync import sync

        async def fetch() -> list[str]:
            return [name.strip("/") async for name in self._store.list_dir(key)]

        with reaching(self._location):
            return sync(fetch())

    def sizes(self) -> Iterator[tuple[int, float | None]]:
        """Return the bytes of each file; the time of its last change is not known."""
        from fsspec.core import url_to_fs

        with reaching(self._location):
            system, inside = url_to_fs(self._location)
            found = system.find(inside, detail=True)
        return ((int(entry.get("size") or 0), None) for entry in found.values())
