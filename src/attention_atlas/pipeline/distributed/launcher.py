"""The processes of a run on one machine: this one is rank 0, and starts the others.

Lightning would start them by running the command line again, and each would run the whole sweep.
Here every rank gets the composed config of this one job through a pipe.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig, OmegaConf

from attention_atlas.devices import num_processes
from attention_atlas.errors import InputError
from attention_atlas.pipeline.distributed.cluster import (
    GRACE_SECONDS,
    WORKER_RANK,
    find_cluster,
    is_first,
)


@contextmanager
def other_ranks(config: DictConfig, folder: Path) -> Iterator[None]:
    """Run the block as rank 0 of as many processes as the config asks for.

    They end with this one, and if one of them fails, all end. If torchrun or srun has started them,
    the config is broadcast to them.
    """
    if find_cluster() is not None:
        with _broadcast_to_workers(config, folder):
            yield
        return
    count = num_processes(config)
    if count == 1 or WORKER_RANK in os.environ:
        yield
        return
    group = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_network_port()),
        "WORLD_SIZE": str(count),
        "NODE_RANK": "0",
    }
    processes = [_start(config, folder, group, number) for number in range(1, count)]
    os.environ.update(group | _rank_variables(0))
    ended = threading.Event()
    threading.Thread(target=_watch, args=(processes, ended), daemon=True).start()
    try:
        yield
        ended.set()
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
    except Exception as error:
        ended.set()
        # The error of another rank is the cause; this one has only lost the connection.
        reason = None if isinstance(error, InputError) else _reason(processes)
        if reason is None:
            raise
        raise reason from error
    finally:
        ended.set()
        for process in processes:
            process.kill()
            process.wait()
        for name in group | _rank_variables(0):
            os.environ.pop(name, None)
        _leave_group()


def _rank_variables(number: int) -> dict[str, str]:
    return {WORKER_RANK: str(number), "LOCAL_RANK": str(number)}


@contextmanager
def _broadcast_to_workers(config: DictConfig, folder: Path) -> Iterator[None]:
    from attention_atlas.pipeline.distributed import coordinator

    if not coordinator.is_initialized():
        raise InputError(
            "A job of a sweep takes one task of SLURM: set hydra.launcher.nodes=1 and "
            "hydra.launcher.tasks_per_node=1; with trainer=ddp it starts a process for each GPU."
        )
    if is_first():
        coordinator.broadcast(config, folder)
    try:
        yield
    except Exception as error:
        if not (is_first() and coordinator.means_lost_rank(error)):
            raise
        message = "Another rank failed, so all ranks were stopped; its own message says why."
        raise InputError(message) from error


def _start(
    config: DictConfig, folder: Path, group: dict[str, str], number: int
) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "attention_atlas.pipeline.rank_worker", str(folder)],
        stdin=subprocess.PIPE,
        env=os.environ | group | _rank_variables(number),
        process_group=0,  # a signal of the terminal reaches rank 0, which tells the others
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(OmegaConf.to_yaml(config, resolve=True))
    process.stdin.close()
    return process


def _reason(processes: "list[subprocess.Popen[str]]") -> BaseException | None:
    """Return the error to raise if another rank failed before this one."""
    deadline = time.monotonic() + GRACE_SECONDS + 2
    while time.monotonic() < deadline:
        if failed := _failed(processes):
            return InputError(failed[0])
        time.sleep(0.1)
    return None


def _failed(processes: "list[subprocess.Popen[str]]") -> tuple[str, int] | None:
    """Return a message about the first process that failed, and the exit code for it."""
    for number, process in enumerate(processes, start=1):
        code = process.poll()
        if code and code < 0:
            return f"rank {number} was ended by signal {-code}, so all ranks were stopped.", 1
        if code:
            message = f"rank {number} failed, so all ranks were stopped; its own message says why."
            return message, code
    return None


def _watch(processes: "list[subprocess.Popen[str]]", ended: threading.Event) -> None:
    """End this process when another one fails, which it would wait for."""
    while not ended.wait(0.2):
        if failed := _failed(processes):
            for process in processes:
                process.kill()
            if ended.wait(GRACE_SECONDS + 5):  # this process has noticed too
                return
            print(f"error: {failed[0]}", file=sys.stderr)
            sys.stdout.flush()
            os._exit(failed[1])


def _leave_group() -> None:
    """Leave the process group, so that the next job of a sweep can make its own."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()
