"""Rank the trials of a sweep, and tell which parameters matter; without torch.

`sweeps.figure`, which needs matplotlib, is imported by itself.
"""

from attention_atlas.analysis.sweeps.importance import Importance
from attention_atlas.analysis.sweeps.jobs import State
from attention_atlas.analysis.sweeps.metric import Metric, higher_is_better
from attention_atlas.analysis.sweeps.seeds import Seeds, Setting
from attention_atlas.analysis.sweeps.sweep import Sweep, read_sweep
from attention_atlas.analysis.sweeps.tables import (
    SweepTable,
    print_sweep,
    sweep_notes,
    sweep_problems,
    sweep_tables,
)
from attention_atlas.analysis.sweeps.trial import Trial
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
