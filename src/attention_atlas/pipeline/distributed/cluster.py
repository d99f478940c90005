"""Whether torchrun or SLURM's srun started this process as one of several. Never imports torch."""

import os
import re
from dataclasses import dataclass
from functools import cache

from omegaconf import DictConfig

from attention_atlas.errors import InputError

STARTED_HERE = "ATTENTION_ATLAS_RANK"
"""The variable by which a run that starts its own processes tells them which they are."""

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launched:
    """The place of this process among those that were started together.

    Attributes:
        rank: Among all of them.
        num_ranks: How many there are.
        ranks_per_node: How many there are on each machine.
    """

    rank: int
    num_ranks: int
    ranks_per_node: int

    @property
    def num_nodes(self) -> int:
        """How many machines there are."""
        return self.num_ranks // self.ranks_per_node


@cache  # Lightning takes variables away when a trainer is done
def launched() -> Launched | None:
    """Where this process stands; None where it, or the run itself, started alone.

    What SLURM calls its variables is said in the words of torchrun, which torch reads.

    Raises:
        InputError: Some of the variables are missing, or machines have different numbers of ranks.
    """
    if STARTED_HERE in os.environ:
        return None
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "RANK" not in os.environ:
        os.environ.update(_said_by_slurm())
    missing = [name for name in TORCHRUN if name not in os.environ]
    if "RANK" not in os.environ and "LOCAL_RANK" not in os.environ:
        return None
    if missing:
        raise InputError(
            f"RANK or LOCAL_RANK is set, and {missing[0]} is not: start by torchrun or srun, or "
            "unset it and let atlas train trainer=ddp start the processes."
        )
    place = Launched(
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        int(os.environ["LOCAL_WORLD_SIZE"]),
    )
    if place.num_ranks % place.ranks_per_node:
        raise InputError(
            f"{place.num_ranks} processes are not the same number on each machine, with "
            f"{place.ranks_per_node} on this one: start as many on each."
        )
    return place


def check_launched(config: DictConfig) -> None:
    """Check that a config is for as many processes as were started.

    Raises:
        InputError: It is for others.
    """
    place = launched()
    if place is None:
        return
    if "trainer" not in config or config.trainer.get("strategy", "auto") == "auto":
        raise InputError(
            f"{place.num_ranks} processes were started, as by torchrun or srun, and this takes "
            "one: take trainer=ddp, fsdp or ddp_cpu to train, or start it by itself."
        )
    if config.trainer.devices not in ("auto", -1, place.ranks_per_node):
        raise InputError(
            f"trainer.devices={config.trainer.devices} is not possible where "
            f"{place.ranks_per_node} processes were started on each machine: take "
            f"trainer.devices={place.ranks_per_node}."
        )


def check_not_launched() -> None:
    """Check that a sweep was started as one process.

    Raises:
        InputError: torchrun or srun started it as one of several.
    """
    cluster = launched()
    if cluster is not None:
        raise InputError(
            f"{cluster.num_ranks} processes were started, as by torchrun or srun, and a sweep "
            "takes one: start it by itself, with hydra/launcher=slurm to make each job one of "
            "SLURM, and trainer=ddp for jobs of several processes."
        )


def _said_by_slurm() -> dict[str, str]:
    """See srun(1), output environment variables; the port follows from the number of the job."""
    slurm = {name: value for name, value in os.environ.items() if name.startswith("SLURM_")}
    hosts = slurm.get("SLURM_STEP_NODELIST") or slurm.get("SLURM_NODELIST", "127.0.0.1")
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
        "MASTER_ADDR": os.environ.get("MASTER_ADDR") or _first_host(hosts),
        "MASTER_PORT": os.environ.get("MASTER_PORT")
        or str(15000 + int(slurm["SLURM_JOB_ID"]) % 10000),
    }


def _first_host(hosts: str) -> str:
    """The first of a list such as `gpu[03-07,12],login1`."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", hosts).split(",")[0]
