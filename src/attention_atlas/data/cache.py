"""Prepared data that is made once, kept under a name that tells everything that shaped it."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def cache_root() -> Path:
    """The folder of all caches.

    `ATTENTION_ATLAS_CACHE` where it is set, else `attention-atlas` below `XDG_CACHE_HOME` or
    `~/.cache`.
    """
    if chosen := os.environ.get("ATTENTION_ATLAS_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "attention-atlas"


def cached(name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Give the folder that `make` fills for `key`, made now or found from before.

    The folder appears whole or not at all: it is filled under a temporary name beside its place
    and renamed, so an interrupted or a second process never leaves or sees half of it.

    Args:
        name: What is cached, in words that may stand in a folder name.
        key: Everything that shapes the content, library versions and a format number included:
            plain values that JSON can hold.
        make: Writes the content into the empty folder it is given.

    Returns:
        The folder, which holds `key.json` too.
    """
    text = json.dumps(key, sort_keys=True, indent=2)
    folder = cache_root() / f"{name}-{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        make(draft)
        (draft / "key.json").write_text(text, encoding="utf-8")
        draft.chmod(0o755)  # mkdtemp makes it private, a shared cache is readable
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same content
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder
