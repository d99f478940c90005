"""Read and write the files of an atlas as bytes: in a folder directly, at a URL by fsspec.

A folder is read without importing fsspec, which takes longer than opening the atlas.
A file appears under its name only when it is complete.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from attention_atlas.atlas.locations import DRAFT, Location, local_path, open_url, reaching
from attention_atlas.errors import InputError

MAX_FILE_BYTES = 2**32  # more than any chunk, of an array or of a flush, takes
MAX_REQUESTS = 64  # concurrent requests to a remote store


class LocalFiles:
    """Files in a folder, by keys such as `rank-0/length/c.0`."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the content of each file; None for each that does not exist."""
        return [self._read(f"{self._folder}/{key}") for key in keys]

    def _read(self, path: str) -> bytes | None:
        try:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):  # a pipe or a device never ends
                return None
            if state.st_size > MAX_FILE_BYTES:
                raise InputError(f"{path} cannot be read: it is too large for an atlas.")
            with open(path, "rb") as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error

    def names(self, key: str) -> list[str]:
        """Return the names of the files and folders in a folder; empty if it does not exist."""
        try:
            return os.listdir(f"{self._folder}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self) -> Iterator[tuple[str, int, float | None]]:
        """Yield key and bytes of each file, and the seconds since 1970 of its last change."""
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with suppress(OSError):  # such as a link to nowhere
                    state = os.stat(f"{folder}/{name}")
                    key = os.path.relpath(f"{folder}/{name}", self._folder)
                    yield key.replace(os.sep, "/"), state.st_size, state.st_mtime

    def write(self, key: str, content: bytes) -> None:
        """Write a draft beside the file, then replace the file with it."""
        path = f"{self._folder}/{key}"
        try:
            _replace(path, content)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _replace(path, content)

    def remove(self, key: str) -> None:
        """Remove a file, if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._folder}/{key}")


def _replace(path: str, content: bytes) -> None:
    draft = f"{path}{DRAFT}"
    try:
        with suppress(FileNotFoundError):
            os.unlink(draft)  # of a killed process, or a link, which is not followed
        with open(draft, "xb") as file:
            file.write(content)
        os.replace(draft, path)
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
        raise


class RemoteFiles:
    """Files at a URL, with the methods of `LocalFiles`."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._system, self._root = open_url(location)

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}"

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the content of each file; None for each that does not exist."""
        if len(keys) == 1:
            return [self._read(keys[0])]
        with ThreadPoolExecutor(MAX_REQUESTS) as pool:
            return list(pool.map(self._read, keys))

    def _read(self, key: str) -> bytes | None:
        with reaching(self._location):
            try:
                content: bytes = self._system.cat_file(self._path(key))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None
            return content

    def names(self, key: str) -> list[str]:
        """Return the names of the files and folders in a folder; empty if it does not exist."""
        with reaching(self._location):
            try:
                paths = self._system.ls(self._path(key), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return [path.rstrip("/").rpartition("/")[2] for path in paths]

    def sizes(self) -> Iterator[tuple[str, int, float | None]]:
        """Yield key and bytes of each file; the time of its last change is not known."""
        with reaching(self._location):
            found = self._system.find(self._root, detail=True)
        root = f"{self._root.rstrip('/')}/"
        for path, entry in found.items():
            yield path.removeprefix(root), int(entry.get("size") or 0), None

    def write(self, key: str, content: bytes) -> None:
        """Write a file."""
        with reaching(self._location):
            self._system.pipe_file(self._path(key), content)

    def remove(self, key: str) -> None:
        """Remove a file, if it exists."""
        with reaching(self._location), suppress(FileNotFoundError):
            self._system.rm_file(self._path(key))


Files = LocalFiles | RemoteFiles


def open_files(location: Location) -> Files:
    """Return the files below a location."""
    path = local_path(location)
    return RemoteFiles(str(location)) if path is None else LocalFiles(path)
