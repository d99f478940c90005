"""Compare runs, and two of them sample by sample. Never imports torch.

`comparison.figure`, which needs matplotlib, is a separate import.
"""

from attention_atlas.analysis.comparison.compare_runs import Comparison, Group, compare_runs
from attention_atlas.analysis.comparison.compare_samples import (
    SampleComparison,
    SampleDifference,
    compare_samples,
    why_not_samples,
)
from attention_atlas.analysis.comparison.markdown import comparison_markdown
from attention_atlas.analysis.comparison.metrics import describe_quantity
from attention_atlas.analysis.comparison.runs import read_compared_run
from attention_atlas.analysis.intervals import Interval

__all__ = [
    "Comparison",
    "Group",
    "Interval",
    "SampleComparison",
    "SampleDifference",
    "compare_runs",
    "compare_samples",
    "comparison_markdown",
    "describe_quantity",
    "read_compared_run",
    "why_not_samples",
]
