"""The rank of this process."""

import os

from attention_atlas.pipeline.distributed.cluster import WORKER_RANK

GRACE_SECONDS = 3.0
"""Delay before a failed worker prints its error, so that rank 0 reports an error common to all."""


def rank() -> int:
    """Return the index of this process among those of its run."""
    return int(os.environ.get(WORKER_RANK) or os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process is the one that prints and writes files."""
    return rank() == 0
