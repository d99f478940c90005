"""Ranks that torchrun or srun started: the first runs the command, the others do its training.

One process alone composes the config, and writes folders and logs. The config is broadcast as text:
nothing is unpickled.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as distributed
from omegaconf import DictConfig, OmegaConf

from attention_atlas.errors import InputError
from attention_atlas.interrupts import Interrupted
from attention_atlas.pipeline.exits import exit_at_once, user_message


def init() -> None:
    """Connect to all ranks.

    Raises:
        InputError: They cannot be reached.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    try:
        distributed.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(
            f"The other processes cannot be reached at {address}: {str(error).splitlines()[0]}"
        ) from error


def is_initialized() -> bool:
    """Whether this process is connected to the others."""
    return distributed.is_initialized()


def broadcast(config: DictConfig, folder: Path) -> None:
    """Let the other ranks train with this config."""
    _broadcast(json.dumps({"config": OmegaConf.to_yaml(config, resolve=True), "at": str(folder)}))


def shutdown() -> None:
    """End the worker loops of the other ranks."""
    if is_initialized():
        _broadcast("")
        distributed.destroy_process_group()


def worker_loop(train: Callable[[DictConfig, Path], object]) -> None:
    """Train with every config that the first rank broadcasts, until it shuts down; then exit."""
    rank = distributed.get_rank()
    try:
        while text := _broadcast():
            job = json.loads(text)
            config = OmegaConf.create(job["config"])
            assert isinstance(config, DictConfig)
            train(config, Path(job["at"]))
    except Interrupted as end:
        exit_at_once(end.exit_code)
    except Exception as error:
        if not means_lost_rank(error):
            print(f"error: rank {rank}: {user_message(error) or repr(error)}", file=sys.stderr)
        exit_at_once(1)
    exit_at_once(0)


def means_lost_rank(error: BaseException) -> bool:
    """Whether an error means that another rank has ended."""
    messages = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out")
    return isinstance(error, RuntimeError) and any(each in str(error) for each in messages)


def _broadcast(text: str = "") -> str:
    """Return the text of the first rank on every rank."""
    own = torch.frombuffer(bytearray(text.encode()) or bytearray(1), dtype=torch.uint8)
    size = torch.tensor([len(text.encode())])
    distributed.broadcast(size, 0)
    if size == 0:
        return ""
    content = own if distributed.get_rank() == 0 else torch.empty(int(size), dtype=torch.uint8)
    distributed.broadcast(content, 0)
    return bytes(content.tolist()).decode()
