"""What was asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.timing import QUICK, Effort


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
