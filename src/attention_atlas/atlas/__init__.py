"""The store of what a run recorded: maps, statistics, inputs, labels and predictions.

`AtlasWriter` writes it, `open_atlas` reads it; neither imports torch, and reading from a folder not
even zarr. Names are imported on first use, so that `run_folder` can read small files without numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attention_atlas.atlas.reader import Atlas, find_atlas, open_atlas
    from attention_atlas.atlas.sample import Sample
    from attention_atlas.atlas.schema import SCHEMA_VERSION, AtlasAttributes, CapturedSample
    from attention_atlas.atlas.writer import AtlasWriter

__all__ = [
    "SCHEMA_VERSION",
    "Atlas",
    "AtlasAttributes",
    "AtlasWriter",
    "CapturedSample",
    "Sample",
    "find_atlas",
    "open_atlas",
]

_MODULES = {
    **dict.fromkeys(("Atlas", "find_atlas", "open_atlas"), "reader"),
    **dict.fromkeys(("SCHEMA_VERSION", "AtlasAttributes", "CapturedSample"), "schema"),
    "AtlasWriter": "writer",
    "Sample": "sample",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
