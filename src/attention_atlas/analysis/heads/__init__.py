"""Analysis of the heads of a run over a data set: statistics, similarity, agreement of layers.

These names only read an atlas, without torch. `heads.figure`, which needs matplotlib, and
`heads.importance`, which runs the model, are imported separately.
"""

from attention_atlas.analysis.heads.similarity import MEASURES, head_similarity, layer_agreement
from attention_atlas.analysis.heads.statistics import (
    STATISTICS,
    Described,
    HeadStatistics,
    head_statistics,
)

__all__ = [
    "MEASURES",
    "STATISTICS",
    "Described",
    "HeadStatistics",
    "head_similarity",
    "head_statistics",
    "layer_agreement",
]
