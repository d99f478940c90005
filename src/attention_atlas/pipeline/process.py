"""Set up the process of a run: seeds, threads, memory."""

import ctypes
import logging
import os
import platform
import random
import warnings

import numpy as np
import torch
from omegaconf import DictConfig

M_TRIM_THRESHOLD = -1  # names and numbers of mallopt(3)
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc allows no more


def prepare_process(config: DictConfig) -> None:
    """Set the seed, the threads and the allocator of the process; called first in a run."""
    keep_freed_memory()
    torch.set_num_threads(config.num_threads)
    seed(config.seed)


def seed(number: int) -> None:
    """Seed every generator, as Lightning's `seed_everything` does, whose import takes seconds."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the system after each step.

    A training step frees and allocates the same tensors repeatedly. By default glibc unmaps large
    ones, and the kernel has to clear and map the pages again, which costs up to 40 % of the CPU
    seconds of a small model. Other C libraries are not changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


_counted = 0.0


def cpu_seconds() -> float:
    """Return user and system time of this process and its finished children since the last reset.

    The first run of a process includes the imports; each job of a multirun counts its own time.
    """
    return _total() - _counted


def reset_cpu_seconds() -> None:
    """Restart the count for the next job."""
    global _counted
    _counted = _total()


def _total() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def quiet_libraries() -> None:
    """Silence what Lightning reports on every run, such as devices and its own deprecations."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.handlers.clear()  # else each message comes twice
        logger.propagate = True
    for message in (
        ".*does not have many workers.*",  # data held in memory is loaded faster without
        ".*logs directory .* exists and is not empty.*",  # the run folder
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*number of training batches .* is smaller than the logging interval.*",  # small data
        ".*It is recommended to use `self.log\\('(val|test)/.*",  # what is logged is of all ranks
        ".*mixed precision and an auto_wrap_policy were specified.*",
        ".*module\\(s\\) in eval mode at the start of training.*",  # encoder.freeze=all
        ".*isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)
