"""Check all architectures: `python -m tests.conformance [names...] [--json FILE]`."""

import argparse
import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path

from tests.conformance.check import ATTENDING, KINDS, Result
from tests.conformance.check_all import check_all
from tests.conformance.page import page
from tests.conformance.tiny_models import model_types

LEAST_RIGHT = 0.95
"""Of those that attend by a softmax; the others are refused by name."""


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
    """Print the table; 1 if any is wrong, or too few of those that attend are right."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("names", nargs="*", help="model types; all if none is given")
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--page", type=Path, help="a file for the page of the documentation")
    options = parser.parse_args()
    results = check_all(options.names or model_types())
    if options.json:
        options.json.write_text(
            json.dumps([dataclasses.asdict(each) for each in results], indent=1)
        )
    if options.page:
        options.page.write_text(page(results), encoding="utf-8")
    print(table(results))
    counts = Counter(each.kind for each in results)
    attending = sum(counts[kind] for kind in ATTENDING)
    return int(counts["wrong"] > 0 or counts["right"] < LEAST_RIGHT * attending)


if __name__ == "__main__":
    sys.exit(main())
