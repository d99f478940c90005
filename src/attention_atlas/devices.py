"""The devices of a run, from its config and the machine, without torch."""

import ctypes
import os
import sys
from typing import Any

from omegaconf import DictConfig, ListConfig


def num_processes(config: DictConfig) -> int:
    """Return the number of processes of a run on this machine."""
    if config.trainer.strategy == "auto":
        return 1
    devices = config.trainer.devices
    on_gpu, available = available_devices(config.trainer.accelerator)
    if devices == "auto" and not on_gpu:
        return 1
    return len(device_indices(devices, available) or [0])


def precision_of(config: DictConfig) -> str:
    """Return the precision of a training; `auto` depends on the device."""
    precision = str(config.trainer.precision)
    if precision != "auto":
        return precision
    on_gpu, _ = available_devices(config.trainer.accelerator)
    return "bf16-mixed" if on_gpu else "32-true"


def available_devices(accelerator: str) -> tuple[bool, int]:
    """Return whether training runs on GPUs, and the number of GPUs or of CPU cores."""
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and count_gpus() > 0)
    return on_gpu, count_gpus() if on_gpu else os.cpu_count() or 1


def count_gpus() -> int:
    """Return the number of CUDA devices that the driver shows to this process."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def device_indices(devices: Any, available: int) -> list[int] | None:
    """Return the indices of the devices, as Lightning reads them; None if it cannot."""
    if devices in ("auto", -1, "-1"):
        return list(range(available))
    if isinstance(devices, str):
        parts = [part.strip() for part in devices.split(",") if part.strip()]
        if not parts or not all(part.isdecimal() for part in parts):
            return None
        devices = [int(part) for part in parts] if "," in devices else int(parts[0])
    if isinstance(devices, list | ListConfig):
        devices = list(devices)
        valid = bool(devices) and all(type(index) is int and index >= 0 for index in devices)
        return devices if valid and len(set(devices)) == len(devices) else None
    return list(range(devices)) if type(devices) is int and devices > 0 else None
