"""Faithfulness: whether attributions reflect what a model used.

Only the result is imported here, so that a saved one is read without torch:
`removal` and `measure` run a model, `figures` draws with matplotlib.
"""

from attention_atlas.analysis.faithfulness.metrics import METRICS, Metric
from attention_atlas.analysis.faithfulness.result import Faithfulness, read_faithfulness
from attention_atlas.analysis.faithfulness.verdict import Estimate

__all__ = ["METRICS", "Estimate", "Faithfulness", "Metric", "read_faithfulness"]
