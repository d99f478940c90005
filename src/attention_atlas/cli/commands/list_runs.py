"""`atlas list`: the runs below a folder."""

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from attention_atlas.attention_options import describe_mechanism
from attention_atlas.cli.options import AsJson
from attention_atlas.cli.runs import OUTPUTS, find_runs, read_accuracy
from attention_atlas.cli.tables import format_age, format_size, percent, print_table
from attention_atlas.console import one_line, print_json
from attention_atlas.errors import InputError
from attention_atlas.run_folder import ATLAS_FOLDER

HEADINGS = ("run", "task", "data", "attention", "accuracy", "samples", "size", "age")
NUMBERS = ("accuracy", "samples", "size", "age")


def list_runs(
    folder: Annotated[Path, typer.Argument(help="Folder to search.")] = OUTPUTS,
    as_json: AsJson = False,
) -> None:
    """List the runs that hold an atlas, the oldest first."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}: give one that holds runs.")
    runs = [_summary(run) for run in sorted(find_runs(folder), key=_recorded_at)]
    if as_json:
        print_json(runs)
        return
    if not runs:
        print(f"No run below {folder} holds an atlas. `atlas train task=nlp` makes one.")
        return
    readable = [run for run in runs if "problem" not in run]
    if readable:
        print_table(HEADINGS, [_cells(run) for run in readable], NUMBERS, in_pieces=True)
    for run in runs:
        if "problem" in run:
            print(one_line(run["problem"]))


def _summary(run: Path) -> dict[str, Any]:
    """Describe a run; an atlas that cannot be read says why."""
    from attention_atlas.atlas import open_atlas

    summary: dict[str, Any] = {"run": str(run)}
    try:
        atlas = open_atlas(run)
    except InputError as error:
        return {**summary, "problem": str(error)}
    return {
        **summary,
        "task": atlas.task,
        "data": atlas.data,
        "attention": describe_mechanism(atlas.attributes.mechanism),
        "test_accuracy": read_accuracy(atlas),
        "samples": len(atlas),
        "bytes": atlas.num_bytes,
        "age_seconds": round(time.time() - _recorded_at(run)),
    }


def _cells(run: dict[str, Any]) -> list[str]:
    accuracy = run["test_accuracy"]
    return [
        *(run[name] for name in ("run", "task", "data", "attention")),
        "-" if accuracy is None else percent(accuracy),
        str(run["samples"]),
        format_size(run["bytes"]),
        format_age(run["age_seconds"]),
    ]


def _recorded_at(run: Path) -> float:
    return os.stat(run / ATLAS_FOLDER).st_mtime
