"""`atlas sweep`: rank the trials of a sweep, and show the importance of its parameters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_atlas.cli.options import AsJson, SaveFigure, check_outputs
from attention_atlas.console import print_json, print_prose

if TYPE_CHECKING:
    from attention_atlas.analysis.sweeps import Sweep

MAX_ROWS = 20


def sweep(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of a sweep, which holds a folder for each job.", show_default=False
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            help="A number of result.json to rank by, such as test/accuracy or cpu_seconds; "
            "without it what the sweep was for.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows that a table shows at most.")] = MAX_ROWS,
    save: SaveFigure = None,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", help="Write all trials here too (.csv).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rank the trials of a sweep, finished or running.

    Means over seeds where the seed was swept; how much each parameter matters; what has failed,
    and why. Nothing is written into the folder.
    """
    from attention_atlas.analysis.sweeps import describe_sweep, read_sweep, write_csv

    check_outputs(save, csv_path)
    found = read_sweep(folder, metric)
    if save is not None:
        from attention_atlas.analysis.figures import save_figure
        from attention_atlas.analysis.sweeps.figure import sweep_figure

        save_figure(sweep_figure(found), save)
    if csv_path is not None:
        write_csv(found, csv_path)
    if as_json:
        print_json(describe_sweep(found))
        return
    _print(found, limit)
    for path in (save, csv_path):
        if path is not None:
            print(f"Saved {path}")


def _print(found: "Sweep", limit: int) -> None:
    from attention_atlas.analysis.sweeps import sweep_notes, sweep_problems, sweep_tables
    from attention_atlas.cli.tables import print_table

    for table in sweep_tables(found, limit):
        print_prose(table.title)
        print_table(table.headings, table.rows, table.numbers, in_pieces=True)
        for sentence in table.foot:
            print_prose(sentence)
        print()
    for sentence in [*sweep_notes(found), *sweep_problems(found)]:
        print_prose(sentence)
