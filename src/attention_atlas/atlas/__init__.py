"""The store of what a run recorded: maps, statistics, inputs, labels and predictions.

`AtlasWriter` writes it, `open_atlas` reads it; neither imports torch, and reading from a folder not
even zarr, so that the command answers at once.
"""

from typing import TYPE_CHECKING, Any

from attention_atlas.atlas.reader import Atlas, find_atlas, open_atlas
from attention_atlas.atlas.sample import Sample
from attention_atlas.atlas.schema import SCHEMA_VERSION, AtlasAttributes, CapturedSample

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """Import the writer, and its codecs with it, where it is used."""
    if name != "AtlasWriter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from attention_atlas.atlas.writer import AtlasWriter

    return AtlasWriter
