"""Let names of modules and classes lead to other functions for a time, shared by all who ask."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_users: Counter[tuple[Any, str]] = Counter()


@contextmanager
def exchanged(
    names: Sequence[tuple[Any, str]], replacement: Callable[[Any], Any]
) -> Iterator[None]:
    """Replace the functions of these names, by owner and name, until all who ask have ended.

    A replacement keeps the original as `__wrapped__`, as `functools.wraps` makes it.
    """
    with _lock:
        for owner, name in names:
            if not _users[owner, name]:
                setattr(owner, name, replacement(getattr(owner, name)))
            _users[owner, name] += 1
    try:
        yield
    finally:
        with _lock:
            for owner, name in names:
                _users[owner, name] -= 1
                if not _users[owner, name]:
                    setattr(owner, name, getattr(owner, name).__wrapped__)
