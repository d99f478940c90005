"""Whether torchrun or srun started this process, and its rank. Never imports torch."""

import os
import re
from dataclasses import dataclass
from functools import cache

from omegaconf import DictConfig

from attention_atlas.errors import InputError

WORKER_RANK = "ATTENTION_ATLAS_RANK"
"""The environment variable with the rank of a process that the run itself has started."""

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Cluster:
    """The processes that torchrun or srun has started, as this one sees them.

    Attributes:
        rank: Index of this process.
        num_ranks: Number of processes.
        ranks_per_node: Number of processes on each machine.
    """

    rank: int
    num_ranks: int
    ranks_per_node: int

    @property
    def num_nodes(self) -> int:
        """Number of machines."""
        return self.num_ranks // self.ranks_per_node


@cache  # Lightning removes the variables when a trainer is done
def find_cluster() -> Cluster | None:
    """Return the cluster of this process; None if it, or the run itself, was started alone.

    The variables of SLURM are translated to those of torchrun, which torch reads.

    Raises:
        InputError: Some of the variables are missing, or machines have different numbers of ranks.
    """
    if WORKER_RANK in os.environ:
        return None
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "RANK" not in os.environ:
        os.environ.update(_slurm_variables())
    missing = [name for name in TORCHRUN if name not in os.environ]
    if "RANK" not in os.environ and "LOCAL_RANK" not in os.environ:
        return None
    if missing:
        raise InputError(
            f"RANK or LOCAL_RANK is set, and {missing[0]} is not: start by torchrun or srun, or "
            "unset it and let atlas train trainer=ddp start the processes."
        )
    cluster = Cluster(
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        int(os.environ["LOCAL_WORLD_SIZE"]),
    )
    if cluster.num_ranks % cluster.ranks_per_node:
        raise InputError(
            f"{cluster.num_ranks} processes are not the same number on each machine, with "
            f"{cluster.ranks_per_node} on this one: start as many on each."
        )
    return cluster


def check_cluster(config: DictConfig) -> None:
    """Check that a config is for the number of processes that were started.

    Raises:
        InputError: It is for another number.
    """
    cluster = find_cluster()
    if cluster is None:
        return
    if "trainer" not in config or config.trainer.get("strategy", "auto") == "auto":
        raise InputError(
            f"{cluster.num_ranks} processes were started, as by torchrun or srun, and this takes "
            "one: take trainer=ddp, fsdp or ddp_cpu to train, or start it by itself."
        )
    if config.trainer.devices not in ("auto", -1, cluster.ranks_per_node):
        raise InputError(
            f"trainer.devices={config.trainer.devices} is not possible where "
            f"{cluster.ranks_per_node} processes were started on each machine: take "
            f"trainer.devices={cluster.ranks_per_node}."
        )


def check_no_cluster() -> None:
    """Check that a sweep was started as one process.

    Raises:
        InputError: torchrun or srun started it as one of several.
    """
    cluster = find_cluster()
    if cluster is not None:
        raise InputError(
            f"{cluster.num_ranks} processes were started, as by torchrun or srun, and a sweep "
            "takes one: start it by itself, with hydra/launcher=slurm to make each job one of "
            "SLURM, and trainer=ddp for jobs of several processes."
        )


def _slurm_variables() -> dict[str, str]:
    """Translate the output environment variables of srun(1); the port follows from the job id."""
    slurm = {name: value for name, value in os.environ.items() if name.startswith("SLURM_")}
    hosts = slurm.get("SLURM_STEP_NODELIST") or slurm.get("SLURM_NODELIST", "127.0.0.1")
    first_host = re.sub(r"\[(\w+)[^\]]*\]", r"\1", hosts).split(",")[0]  # of `gpu[03-07,12],login1`
    per_node = slurm.get("SLURM_STEP_TASKS_PER_NODE", slurm["SLURM_STEP_NUM_TASKS"])
    if "," in per_node:
        raise InputError(
            f"SLURM started {per_node} processes on the machines: start as many on each, as with "
            "--ntasks-per-node."
        )
    return {
        "RANK": slurm["SLURM_PROCID"],
        "LOCAL_RANK": slurm["SLURM_LOCALID"],
        "NODE_RANK": slurm["SLURM_NODEID"],
        "WORLD_SIZE": slurm["SLURM_STEP_NUM_TASKS"],
        "LOCAL_WORLD_SIZE": per_node.partition("(")[0],
        "MASTER_ADDR": os.environ.get("MASTER_ADDR") or first_host,
        "MASTER_PORT": os.environ.get("MASTER_PORT")
        or str(15000 + int(slurm["SLURM_JOB_ID"]) % 10000),
    }


GRACE_SECONDS = 3.0
"""Delay before a failed worker prints its error, so that rank 0 reports an error common to all."""


def rank() -> int:
    """Return the index of this process among those of its run."""
    return int(os.environ.get(WORKER_RANK) or os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process is the one that prints and writes files."""
    return rank() == 0
