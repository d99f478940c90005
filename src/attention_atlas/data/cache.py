"""A cache of prepared data, in folders named by a digest of everything that determines them.

A folder appears complete or not at all: it is filled under a temporary name beside its path and
renamed, so an interrupted or concurrent process never leaves or sees half of it.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    """Return the folder that `make` fills for `key`, from the cache if it exists.

    Args:
        name: Kind of content, as a prefix of the folder name.
        key: Everything that determines the content, library versions and a format number
            included, as JSON values.
        make: Writes the content into an empty folder.

    Returns:
        The folder, which holds `key.json` too.
    """
    text = json.dumps(key, sort_keys=True, indent=2)
    folder = cache_root() / f"{name}-{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
    if not folder.is_dir():
        with complete_folder(folder) as draft:
            make(draft)
            (draft / "key.json").write_text(text, encoding="utf-8")
    return folder


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` if the block raises no error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp makes it private, a shared cache is readable
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same content
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
