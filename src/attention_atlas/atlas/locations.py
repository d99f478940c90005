"""Locations of an atlas: a path, a `file://` URL, or any other URL that fsspec knows.

Examples of the latter are `memory://run/atlas.zarr` and `s3://bucket/run/atlas.zarr`. fsspec is
imported for them only, because a local atlas is read without it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attention_atlas.errors import InputError

Location = str | Path

ATLAS_FOLDER = "atlas.zarr"
DRAFT = ".partial"  # suffix of a file that is not complete yet

# `scheme://` or, where URLs are chained as in `simplecache::s3://bucket/run`, `scheme::`.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
_FILE = "file://"


def is_url(location: Location) -> bool:
    """Check whether a location is a URL; a `file://` URL is one, too."""
    return isinstance(location, str) and _URL.match(location) is not None


def local_path(location: Location) -> Path | None:
    """Return the path of a location on this machine, or None for any other."""
    if isinstance(location, Path):
        return location
    if location.startswith(_FILE):
        return Path(location.removeprefix(_FILE))
    return None if is_url(location) else Path(location)


def join(location: Location, name: str) -> Location:
    """Return the location of a name, which may contain `/`, below a location."""
    if isinstance(location, Path) or not is_url(location):
        return Path(location) / name
    first, mark, rest = location.partition("::")
    if mark and "://" not in first:  # in `cache::s3://a` the path belongs to the second URL
        return f"{first}::{join(rest, name)}"
    divider = "" if first.endswith("/") else "/"
    return f"{first}{divider}{name}{mark}{rest}"


def parent(location: Location) -> Location:
    """Return the folder that contains a location."""
    path = local_path(location)
    if path is not None:
        return path.parent
    first, mark, rest = str(location).partition("::")
    if mark and "://" not in first:
        return f"{first}::{parent(rest)}"
    scheme, inside = first.split("://", 1)
    return f"{scheme}://{inside.rstrip('/').rpartition('/')[0]}{mark}{rest}"


def exists(location: Location) -> bool:
    """Check whether there is a file or folder.

    Raises:
        InputError: If the URL cannot be reached.
    """
    path = local_path(location)
    if path is not None:
        return path.exists()
    system, inside = open_url(str(location))
    with reaching(location):
        return bool(system.exists(inside))


def open_url(url: str) -> tuple[Any, str]:
    """Return the file system of fsspec for a URL, and the path within it.

    Raises:
        InputError: If no driver handles the URL, or its package is not installed; it names the
            package.
    """
    from fsspec.core import url_to_fs

    with reaching(url):
        system, inside = url_to_fs(url)
        return system, inside


@contextmanager
def reaching(location: Location) -> Iterator[None]:
    """Turn any error of a remote file system into an `InputError`."""
    try:
        yield
    except ImportError as error:  # fsspec's message names the package
        reason = str(error).rstrip(".")
        raise InputError(f"{str(location)!r} cannot be opened: {reason}.") from error
    except InputError:
        raise
    except Exception as error:  # drivers raise errors of their own, such as those of botocore
        reason = str(error).rstrip(".") or type(error).__name__
        raise InputError(f"{str(location)!r} cannot be reached: {reason}.") from error
