"""Rank the trials of a sweep and measure which parameters matter. Never imports torch.

`sweeps.figure`, which needs matplotlib, is a separate import.
"""

from attention_atlas.analysis.sweeps.importance import Importance
from attention_atlas.analysis.sweeps.sweep import Sweep, read_sweep
from attention_atlas.analysis.sweeps.tables import (
    print_sweep,
    sweep_notes,
    sweep_problems,
    sweep_tables,
)
from attention_atlas.analysis.sweeps.trial import State
from attention_atlas.analysis.sweeps.writing import describe_sweep, write_csv, write_sweep

__all__ = [
    "Importance",
    "State",
    "Sweep",
    "describe_sweep",
    "print_sweep",
    "read_sweep",
    "sweep_notes",
    "sweep_problems",
    "sweep_tables",
    "write_csv",
    "write_sweep",
]
