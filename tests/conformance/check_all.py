"""Check many architectures, in as many processes as there are cores."""

import logging
import multiprocessing
import os
import signal
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
import transformers

from tests.conformance.check import KINDS, Result, check

SECONDS = 60
"""Time for one architecture."""


class OutOfTimeError(BaseException):
    """Passes what catches exceptions."""


def _interrupt(*_: Any) -> None:
    raise OutOfTimeError


def check_all(names: list[str]) -> list[Result]:
    """Check architectures, each for a minute at most."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, _be_quiet) as pool:
        results = list(pool.map(_check_in_time, names, chunksize=4))
    return sorted(results, key=lambda result: (KINDS.index(result.kind), result.name))


def _be_quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _interrupt)


def _check_in_time(name: str) -> Result:
    signal.alarm(SECONDS)
    try:
        return check(name)
    except OutOfTimeError:
        return Result(name, "not built", f"it took more than {SECONDS} seconds")
    finally:
        signal.alarm(0)
