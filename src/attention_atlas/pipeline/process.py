"""Set up the process that a run has to itself: seeds, threads, memory."""

import ctypes
import platform

import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig

M_TRIM_THRESHOLD = -1  # names and numbers of mallopt(3)
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc allows no more


def prepare_process(config: DictConfig) -> None:
    """Take `seed` and `num_threads` from the config of a run; to be called before all else."""
    keep_freed_memory()
    torch.set_num_threads(config.num_threads)
    seed_everything(config.seed, workers=True, verbose=False)


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
