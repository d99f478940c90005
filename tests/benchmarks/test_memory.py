"""Peaks of memory are those of the step."""

from collections.abc import Callable

import pytest
import torch

from benchmarks.figures import Comparison
from benchmarks.memory import memory_figures


def allocations(mebibytes: int) -> dict[str, Callable[[], object]]:
    """Steps that take and free memory."""
    size = mebibytes * 2**18  # numbers of four bytes

    def twice() -> None:
        for _ in range(2):
            torch.ones(size)

    return {
        "one": lambda: torch.ones(size),
        "one after the other": twice,
        "two": lambda: (torch.ones(size), torch.ones(size)),
    }


@pytest.mark.slow
def test_the_peak_is_what_is_alive_at_once_whatever_this_process_holds() -> None:
    ballast = torch.ones(2**26)  # 256 MiB here must not hide anything there
    comparisons = [Comparison("two", "one"), Comparison("one after the other", "one")]
    two, twice = memory_figures("group", "case", comparisons, allocations, (48,), "cpu")
    assert ballast.numel() == 2**26
    assert two.against_amount == pytest.approx(48, rel=0.05)
    assert two.value == pytest.approx(2, rel=0.05)
    assert twice.value == pytest.approx(1, rel=0.05)
