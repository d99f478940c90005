"""Rank the trials of a sweep and measure which parameters matter. Never imports torch.

`sweeps.figure`, which needs matplotlib, is a separate import.
"""

from attention_atlas.analysis.sweeps.importance import Importance
from attention_atlas.analysis.sweeps.metric import Metric, higher_is_better
from attention_atlas.analysis.sweeps.sweep import Seeds, Setting, Sweep, read_sweep
from attention_atlas.analysis.sweeps.tables import (
    SweepTable,
    print_sweep,
    sweep_notes,
    sweep_problems,
    sweep_tables,
)
from attention_atlas.analysis.sweeps.trial import State, Trial
from attention_atlas.analysis.sweeps.writing import describe_sweep, write_csv, write_sweep

__all__ = [
    "Importance",
    "Metric",
    "Seeds",
    "Setting",
    "State",
    "Sweep",
    "SweepTable",
    "Trial",
    "describe_sweep",
    "higher_is_better",
    "print_sweep",
    "read_sweep",
    "sweep_notes",
    "sweep_problems",
    "sweep_tables",
    "write_csv",
    "write_sweep",
]
