"""Check all architectures: `python -m tests.conformance [names...] [--json FILE]`."""

import argparse
import dataclasses
import json
import logging
import signal
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.conformance.check import KINDS, Result, check
from tests.conformance.tiny_models import model_types

SECONDS = 60
"""Time for one architecture."""


class OutOfTimeError(BaseException):
    """Passes what catches exceptions."""


def _interrupt(*_: Any) -> None:
    raise OutOfTimeError


def check_all(names: list[str]) -> list[Result]:
    """Check architectures, each for a minute at most."""
    before = signal.signal(signal.SIGALRM, _interrupt)
    results = []
    try:
        for name in names:
            signal.alarm(SECONDS)
            try:
                results.append(check(name))
            except OutOfTimeError:
                results.append(Result(name, "not built", f"it took more than {SECONDS} seconds"))
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return sorted(results, key=lambda result: (KINDS.index(result.kind), result.name))


def table(results: list[Result]) -> str:
    """Return a table in Markdown, and counts."""
    lines = ["| Architecture | Result | Maps | Error | Remark |", "| - | - | - | - | - |"]
    for each in results:
        remark = each.remark.replace("|", "/")
        error = f"{each.error:.1g}" if each.maps else ""
        lines.append(f"| {each.name} | {each.kind} | {each.maps or ''} | {error} | {remark} |")
    counts = Counter(each.kind for each in results)
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)
    return "\n".join([*lines, "", f"{len(results)} architectures: {summary}."])


def main() -> int:
    """Print the table; 1 if any is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("names", nargs="*", help="model types; all if none is given")
    parser.add_argument("--json", type=Path, help="a file for the results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    results = check_all(options.names or model_types())
    if options.json:
        options.json.write_text(
            json.dumps([dataclasses.asdict(each) for each in results], indent=1)
        )
    print(table(results))
    return int(any(each.kind == "wrong" for each in results))


if __name__ == "__main__":
    sys.exit(main())
