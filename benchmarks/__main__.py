"""Measure what attention and recording cost, as ratios between things measured in one run.

python -m benchmarks                             all figures, as tables and as JSON
python -m benchmarks --check                     exit code 1 where a bound is missed
python -m benchmarks --only recording additive   some groups
python -m benchmarks --quick                     two rounds of the smallest case of each group
"""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path

from benchmarks import OUTPUTS
from benchmarks.processes import in_fresh_process

GROUPS = (
    "module",
    "recording",
    "pretrained",
    "statistics",
    "additive",
    "variants",
    "pipeline",
    "atlas",
    "scale",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP",
                        help=f"some of {', '.join(GROUPS)}")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="fail where a bound is missed")
    parser.add_argument("--quick", action="store_true", help="see whether all runs, no more")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, help="JSON file, by default outputs/benchmarks/<time>")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded
    return run(options)


def run(arguments: argparse.Namespace) -> int:
    """All groups that were asked for, each in a process of its own."""
    import torch

    from benchmarks import report
    from benchmarks.options import Options

    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: --device cuda needs a GPU that torch can use, and there is none.")
    options = Options(device, arguments.quick)
    machine = report.describe_machine(device)
    out = arguments.out or OUTPUTS / f"{datetime.now():%Y-%m-%d_%H-%M-%S}.json"
    figures = []
    for name in arguments.only:
        measured = in_fresh_process(import_module(f"benchmarks.groups.{name}").measure, options)
        print(report.tables(measured), flush=True)
        figures += measured
        report.write_json(out, report.as_json(machine, figures))
    print(report.verdict(figures))
    print(f"written to {out}")
    return report.exit_code(figures, arguments.check)


if __name__ == "__main__":
    sys.exit(main())
