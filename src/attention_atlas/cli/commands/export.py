"""`atlas export`: what an atlas holds, in forms that other programs read."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from attention_atlas.cli.options import AsJson, Epoch, Run, complete_sample
from attention_atlas.cli.runs import choose_sample, must_have_maps, open_run
from attention_atlas.console import print_json, progress_bar
from attention_atlas.errors import counted


def _complete_from(names: str) -> Callable[[str], list[str]]:
    """Complete with the names in this constant of `export`, which is imported only then."""

    def complete(incomplete: str) -> list[str]:
        from attention_atlas.analysis import export

        return [name for name in getattr(export, names) if name.startswith(incomplete)]

    return complete


def export(
    run: Run,
    out: Annotated[
        Path,
        typer.Option(help="File to write; one of this name is replaced.", show_default=False),
    ],
    sample: Annotated[
        str | None,
        typer.Argument(
            help="Sample id, or its index from 0; default: all samples, or the first with full "
            "maps where the format holds one sample.",
            show_default=False,
            autocompletion=complete_sample,
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="png (.png, .pdf, .svg), html, csv, npz, netcdf (.nc) or bertviz (.pt); without "
            "it that of the file's ending.",
            autocompletion=_complete_from("FORMATS"),
        ),
    ] = None,
    what: Annotated[
        str | None,
        typer.Option(
            help="Rows of a csv: tokens (the default), readout, maps or statistics.",
            show_default=False,
            autocompletion=_complete_from("WHATS"),
        ),
    ] = None,
    epoch: Epoch = None,
    as_json: AsJson = False,
) -> None:
    """Write samples for other programs.

    A figure, a web page, a table, numpy arrays, netCDF, or what BertViz takes.
    """
    from attention_atlas.analysis.export import FORMATS, format_of
    from attention_atlas.analysis.export import export as write

    format_name = format_of(out, format_name)
    atlas = open_run(run)
    if sample is None and FORMATS[format_name].whole:
        samples = list(atlas.samples(epoch))
    else:
        samples = [choose_sample(atlas, sample, epoch)]
    needs_maps = format_name == "bertviz" or (format_name == "csv" and what == "maps")
    if needs_maps and not any(each.has_maps for each in samples):
        must_have_maps(atlas, samples[0], run)
    with progress_bar("samples") as progress:
        written = write(atlas, samples, out, format_name, what, progress)
    if as_json:
        ids = [each.sample_id for each in written]
        print_json({"saved": str(out), "format": format_name, "sample_ids": ids})
    else:
        left_out = len(samples) - len(written)
        others = f"; {left_out} without maps left out" if left_out else ""
        print(f"Saved {counted(len(written), 'sample')} to {out}{others}")
