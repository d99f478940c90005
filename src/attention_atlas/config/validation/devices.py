"""Check that the machine has the devices and the compiler of a run."""

import os
import shutil
import sys

from omegaconf import DictConfig

from attention_atlas.devices import available_devices, device_indices, num_processes
from attention_atlas.errors import InputError

COMPILERS = ("g++", "clang++", "c++", "cl")
"""C++ compilers that torch.compile looks for, unless the variable CXX names one."""


def check_devices(config: DictConfig) -> None:
    """Check that the machine has the devices that the trainer is told to use.

    Raises:
        InputError: It has fewer, or `trainer.devices` cannot be read.
    """
    accelerator, devices = config.trainer.accelerator, config.trainer.devices
    if sys.platform == "darwin" or accelerator in ("mps", "tpu"):
        # Lightning knows which of these the machine has, and reports it before training.
        _check_one_device(config, device_indices(devices, 1) or [])
        return
    on_gpu, available = available_devices(accelerator)
    kind = "GPU" if on_gpu else "CPU core"
    has = f"this machine has {available} {kind}{'' if available == 1 else 's'}"
    if on_gpu and available == 0:
        raise InputError(f"trainer.accelerator={accelerator} needs a GPU, and {has}.")
    wanted = device_indices(devices, available)
    if wanted is None:
        raise InputError(
            f"trainer.devices={devices} is not possible: take 1, the index of one device in a "
            "list, or auto."
        )
    if any(index >= available for index in wanted):
        raise InputError(
            f"trainer.devices={config.trainer.devices} is more than there are: {has}. "
            "Take trainer.devices=1."
        )
    if on_gpu or devices != "auto":  # auto is one process on the CPU
        _check_one_device(config, wanted)


def _check_one_device(config: DictConfig, wanted: list[int]) -> None:
    if len(wanted) > 1 and config.trainer.strategy == "auto":
        raise InputError(
            f"trainer.devices={config.trainer.devices} asks for {len(wanted)} devices, and one "
            "process takes one. Take trainer=ddp or trainer=ddp_cpu, or trainer.devices=1."
        )


def check_processes(config: DictConfig) -> None:
    """Check options that depend on the number of processes."""
    if config.trainer.strategy == "fsdp" and config.callbacks.get("ema") is not None:
        raise InputError(
            "trainer=fsdp spreads the weights over the ranks, and callbacks.ema cannot "
            "average them: add callbacks.ema=null."
        )
    on_gpu, _ = available_devices(config.trainer.accelerator)
    if config.trainer.get("sync_batchnorm") and not on_gpu and num_processes(config) > 1:
        raise InputError(
            "trainer.sync_batchnorm=true is for GPUs: add trainer.sync_batchnorm=false, or take "
            "trainer=ddp_cpu."
        )


def check_compiler(config: DictConfig) -> None:
    """Check that there is a C++ compiler if a kernel is to be compiled."""
    names = [os.environ["CXX"]] if "CXX" in os.environ else list(COMPILERS)
    if config.attention.get("compile") and not any(shutil.which(name) for name in names):
        raise InputError(
            f"attention.compile=true needs a C++ compiler, and there is no {' or '.join(names)} "
            "to be found. Install one, name one by the variable CXX, or leave it out."
        )
