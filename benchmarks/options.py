"""What was asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import QUICK, Effort

OUTPUTS = Path(__file__).resolve().parents[1] / "outputs" / "benchmarks"


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        device: `cpu` or `cuda`.
        quick: Only the smallest case of each group, in two rounds: shows that all runs, no more.
    """

    device: str
    quick: bool = False

    @property
    def effort(self) -> Effort:
        """How many rounds a case gets, a run of a task aside."""
        return QUICK if self.quick else Effort()
