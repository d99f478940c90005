"""Peak of the memory that a step takes beyond what is there before it, in a fresh process.

The step runs once before, so that code is loaded, kernels are compiled and buffers of the libraries
are there. On a CPU the peak is that of the resident pages since the second call began, and glibc is
told to give freed tensors back at once, so that pages of the first call do not count as there.
"""

from __future__ import annotations

import ctypes
import gc
import platform
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.figures import Comparison, Figure
from benchmarks.processes import in_fresh_process
from benchmarks.timing import Step, tell

MakeSteps = Callable[..., Mapping[str, Step]]

MEBIBYTE = 2**20
M_MMAP_THRESHOLD = -3  # as in mallopt(3)
SMALLEST_MMAP = 64 * 1024  # bytes; what is larger is mapped alone, and unmapped when freed
RESET_PEAK = "5"  # as in proc_pid_clear_refs(5)


def memory_figures(
    group: str,
    case: str,
    comparisons: Sequence[Comparison],
    make_steps: MakeSteps,
    arguments: Sequence[object],
    device: str,
) -> list[Figure]:
    """Measure all steps that are compared, each in a process of its own.

    Args:
        group: Of the figures.
        case: The shape.
        comparisons: Of steps by name.
        make_steps: A function of a module that gives the steps by name.
        arguments: Its arguments.
        device: `cpu` or `cuda`.
    """
    names = {name: None for each in comparisons for name in (each.name, each.against)}
    peaks = {}
    for name in names:
        tell(f"memory of {name}, {case}")
        peaks[name] = peak_of(name, make_steps, arguments, device)
    return [
        Figure(
            group,
            case,
            each,
            "MiB",
            peaks[each.name] / peaks[each.against],
            amount=peaks[each.name],
            against_amount=peaks[each.against],
            rounds=1,
        )
        for each in comparisons
    ]


def peak_of(name: str, make_steps: MakeSteps, arguments: Sequence[object], device: str) -> float:
    """MiB at the peak of a step beyond those before it, in a process of its own."""
    return in_fresh_process(_peak, make_steps, arguments, name, device) / MEBIBYTE


def _peak(make_steps: MakeSteps, arguments: Sequence[object], name: str, device: str) -> int:
    """Bytes at the peak of a step beyond those before it."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, SMALLEST_MMAP)
    step = make_steps(*arguments)[name]
    step()
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before = _reset_peak()
    step()
    return _peak_so_far() - before


def _reset_peak() -> int:
    """Start to look for a new peak where the system can; return the bytes that are resident."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    except OSError:
        return _peak_so_far()
    return _status("VmRSS")


def _peak_so_far() -> int:
    """Largest number of bytes that were resident.

    `ru_maxrss` is the second choice: Linux has a new process begin with that of its parent.
    """
    if Path("/proc/self/status").is_file():
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
