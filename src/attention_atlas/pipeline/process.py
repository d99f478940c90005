"""Set up the process that a run has to itself: seeds, threads, memory."""

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
    """Take `seed` and `num_threads` from the config of a run; to be called before all else."""
    keep_freed_memory()
    torch.set_num_threads(config.num_threads)
    seed(config.seed)


def seed(number: int) -> None:
    """Seed every generator, as Lightning's `seed_everything` does, whose import takes seconds."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def keep_freed_memory() -> None:
    """Tell glibc not to give freed memory back to the system after each step.

    A training step frees and takes the same tensors again and again. By default glibc unmaps the
    large ones, and the kernel has to clear and map the pages anew: that costs up to 40 % of the CPU
    seconds of a small model. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


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


def quiet_libraries() -> None:
    """Leave out what Lightning tells on every run, such as devices and its own deprecations."""
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
