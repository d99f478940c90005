"""Arguments and options that several commands have, and how the shell completes them."""

import glob
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from attention_atlas.cli.runs import OUTPUTS, find_runs, open_run
from attention_atlas.errors import InputError
from attention_atlas.output_files import FIGURE_SUFFIXES, check_output
from attention_atlas.run_folder import find_run

MAX_COMPLETED = 200  # sample ids that are offered at once


def complete_run(incomplete: str) -> list[str]:
    """Return the runs below `outputs` that begin with what was typed, or else other folders."""
    runs = [run for run in map(str, find_runs(OUTPUTS)) if run.startswith(incomplete)]
    if runs:
        return runs
    beside = glob.glob(f"{glob.escape(incomplete)}*")
    return sorted(path for path in beside if os.path.isdir(path))


def complete_sample(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of samples of the run that was typed before."""
    run: Any = ctx.params.get("run")
    if not isinstance(run, str):
        return []
    try:
        ids = open_run(find_run(run)).sample_ids
    except InputError:
        return []
    return [name for name in ids if name.startswith(incomplete)][:MAX_COMPLETED]


Run = Annotated[
    str,
    typer.Argument(
        help="Run folder, an atlas.zarr, or the URL of either.",
        show_default=False,
        autocompletion=complete_run,
    ),
]
RunFolder = Annotated[
    str, typer.Argument(help="Run folder.", show_default=False, autocompletion=complete_run)
]
SampleName = Annotated[
    str | None,
    typer.Argument(
        help="Sample id, or its number counted from 0; without it the first with full maps.",
        show_default=False,
        autocompletion=complete_sample,
    ),
]
Epoch = Annotated[int | None, typer.Option(help="Epoch, counted from 0; without it the last.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
TextColumn = Annotated[
    str | None,
    typer.Option(help="Column of the texts in a CSV file; without it that of the run, or text."),
]
Device = Annotated[
    str | None,
    typer.Option(help="Where the model runs, such as cpu or cuda:1; without it a GPU if any."),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="Column of the labels, if any; without it that of the run, or label."),
]
SaveFigure = Annotated[
    Path | None, typer.Option(help="Write a figure here too (.png, .pdf, .svg).")
]


def check_outputs(figure: Path | None, table: Path | None = None) -> None:
    """Check the paths of a figure and of a CSV file, before work is done for them.

    Raises:
        InputError: One of them cannot be written, or has another ending.
    """
    if table is not None:
        check_output(table, (".csv",))
    if figure is not None:
        check_output(figure, FIGURE_SUFFIXES)
