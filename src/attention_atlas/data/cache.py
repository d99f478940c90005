"""A cache of prepared data, in folders named by a digest of everything that determines them.

A folder appears complete or not at all: it is filled under a temporary name beside its path and
renamed, so an interrupted or concurrent process never leaves or sees half of it. It lists the
digests of its files, and is made again where one of them has changed since.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from attention_atlas.errors import InputError
from attention_atlas.output_files import new_draft, writing

KEY, DIGESTS = "key.json", "digests.json"
SETTLED_SECONDS = 2
"""Time after which any change of a file shows in its status, on any file system."""


def cache_root() -> Path:
    """Return the root of the cache.

    It is `ATTENTION_ATLAS_CACHE`, if set, else `attention-atlas` below `XDG_CACHE_HOME` or
    `~/.cache`.
    """
    if chosen := os.environ.get("ATTENTION_ATLAS_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "attention-atlas"


def cached(name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` fills for `key`, from the cache if it exists undamaged.

    Args:
        name: Kind of content, as a prefix of the folder name.
        key: Everything that determines the content, library versions and a format number
            included, as JSON values.
        make: Writes the content into an empty folder.

    Returns:
        The folder, which holds `key.json` and `digests.json` too.
    """
    text = json.dumps(key, sort_keys=True, indent=2)
    folder = cache_root() / f"{name}-{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
    if not _is_whole(folder):
        _discard_damaged(folder)
        with complete_folder(folder) as draft:
            make(draft)
            (draft / KEY).write_text(text, encoding="utf-8")
            (draft / DIGESTS).write_text(json.dumps(_digests(draft), indent=2), encoding="utf-8")
    return folder


def digest_of(parts: Iterable[bytes]) -> str:
    """Return a digest of the parts, which depends on where one ends and the next begins."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """Return a digest of the content of a file.

    The check of a config and the training need it: a file that has not changed is read once.

    Raises:
        InputError: It cannot be read.
    """
    try:
        status = path.stat()
        if time.time() - status.st_ctime < SETTLED_SECONDS:  # its time may stay with a new content
            return _digest(path)
        return _known_digest(path, status.st_ino, status.st_size, status.st_ctime_ns)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@lru_cache(maxsize=2**17)
def _known_digest(path: Path, *version: int) -> str:
    return _digest(path)


def _digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file in a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): digest_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _is_whole(folder: Path) -> bool:
    """Whether a folder has the files that were written into it, unchanged.

    One of an earlier version has no digests, and is taken as it is: it may be a download.
    """
    if not folder.is_dir():
        return False
    listed = folder / DIGESTS
    if not listed.exists():
        return True
    try:
        expected = json.loads(listed.read_text(encoding="utf-8"))
        found = _digests(folder)
    except (InputError, OSError, ValueError):
        return False
    found.pop(DIGESTS)
    return bool(found == expected)


def _discard_damaged(folder: Path) -> None:
    """Remove a damaged folder, unless another process has made it again."""
    if not folder.exists():
        return
    with FileLock(folder.with_name(f".{folder.name}-lock")):
        if not _is_whole(folder):
            with writing(folder), new_draft(folder, is_folder=True) as removed:
                folder.rename(removed / folder.name)


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` if the block raises no error.

    Raises:
        InputError: It cannot be written, such as on a full disk.
    """
    with writing(folder), new_draft(folder, is_folder=True) as unfinished:
        yield unfinished
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same content
                raise
