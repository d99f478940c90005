"""Processor time of this process, run by run."""

import os

_counted = 0.0


def cpu_seconds() -> float:
    """User and system time of this process and its finished children, since it was last reset.

    So the first run of a process counts the imports too, and each job of a multirun its own time.
    """
    return _total() - _counted


def reset_cpu_seconds() -> None:
    """Count from here on: the next job begins."""
    global _counted
    _counted = _total()


def _total() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
