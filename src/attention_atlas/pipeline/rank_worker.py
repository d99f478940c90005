"""A worker process of a run with several ranks: trains with the config from standard input."""

import os
import sys
import threading
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from attention_atlas.errors import INPUT_ERROR_EXIT_CODE, InputError
from attention_atlas.pipeline.distributed.cluster import GRACE_SECONDS, rank
from attention_atlas.pipeline.exits import exit_at_once


def run_rank() -> None:
    """Train with the config from standard input."""
    folder = Path(sys.argv[1])
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    config = OmegaConf.create(sys.stdin.read())
    assert isinstance(config, DictConfig)
    from attention_atlas.pipeline.train import train

    try:
        train(config, folder)
    except InputError as error:
        time.sleep(GRACE_SECONDS)
        print(f"error: rank {rank()}: {error}", file=sys.stderr)
        exit_at_once(INPUT_ERROR_EXIT_CODE)
    except BaseException:
        time.sleep(GRACE_SECONDS)
        raise
    exit_at_once(0)


def _end_with(parent: int) -> None:
    """End this process when rank 0 has ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    run_rank()
