"""The store of what a run recorded: maps, statistics, inputs, labels and predictions.

`AtlasWriter` writes it, `open_atlas` reads it; neither imports torch.
"""

from attention_atlas.atlas.reader import Atlas, Sample, find_atlas, open_atlas
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
