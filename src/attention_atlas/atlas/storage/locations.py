"""Where an atlas lies: a folder, or any URL that fsspec knows, by the stores of zarr.

A location is a path, a `file://` URL or any other URL, such as `memory://run/atlas.zarr` or
`s3://bucket/run/atlas.zarr`. zarr and fsspec are imported where they are needed only, because a
local atlas is read without them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attention_atlas.errors import InputError

if TYPE_CHECKING:
    from zarr.abc.store import Store

Location = str | Path

# `scheme://` or, where URLs are chained as in `simplecache::s3://bucket/run`, `scheme::`.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
_FILE = "file://"


def is_url(location: Location) -> bool:
    """Whether a location is a URL; a `file://` URL is one too."""
    return isinstance(location, str) and _URL.match(location) is not None


def local_path(location: Location) -> Path | None:
    """Return the path of a location on this machine, or None for any other."""
    if isinstance(location, Path):
        return location
    if location.startswith(_FILE):
        return Path(location.removeprefix(_FILE))
    return None if is_url(location) else Path(location)


def join(location: Location, name: str) -> Location:
    """Return the location of what has this name, which may hold `/`, inside of a location."""
    if isinstance(location, Path) or not is_url(location):
        return Path(location) / name
    first, mark, rest = location.partition("::")
    if mark and "://" not in first:  # of `cache::s3://a` the path is the second's
        return f"{first}::{join(rest, name)}"
    divider = "" if first.endswith("/") else "/"
    return f"{first}{divider}{name}{mark}{rest}"


def parent(location: Location) -> Location:
    """Return the folder that a location lies in."""
    path = local_path(location)
    if path is not None:
        return path.parent
    first, mark, rest = str(location).partition("::")
    if mark and "://" not in first:
        return f"{first}::{parent(rest)}"
    scheme, inside = first.split("://", 1)
    return f"{scheme}://{inside.rstrip('/').rpartition('/')[0]}{mark}{rest}"


def exists(location: Location) -> bool:
    """Whether there is a file or folder.

    Raises:
        InputError: If the URL cannot be looked at.
    """
    path = local_path(location)
    if path is not None:
        return path.exists()
    from fsspec.core import url_to_fs

    with reaching(location):
        system, inside = url_to_fs(str(location))
        return bool(system.exists(inside))


def open_store(location: Location, read_only: bool) -> "Store":
    """Return the store of zarr for a location; a folder need not be there if it is written.

    Raises:
        InputError: If the URL is of a kind that nobody knows or whose package is not installed; it
            names the package.
    """
    from zarr.storage import FsspecStore, LocalStore

    path = local_path(location)
    if path is not None:
        return LocalStore(path, read_only=read_only)
    with reaching(location):
        return FsspecStore.from_url(str(location), read_only=read_only)


@contextmanager
def reaching(location: Location) -> Iterator[None]:
    """Turn what goes wrong on the way to a URL into one sentence."""
    try:
        yield
    except ImportError as error:  # fsspec's own words name the package
        reason = str(error).rstrip(".")
        raise InputError(f"{str(location)!r} cannot be opened: {reason}.") from error
    except InputError:
        raise
    except Exception as error:  # a driver raises what it likes, such as botocore's own errors
        reason = str(error).rstrip(".") or type(error).__name__
        raise InputError(f"{str(location)!r} cannot be reached: {reason}.") from error
