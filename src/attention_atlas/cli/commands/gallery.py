"""`atlas gallery`: one sample of each run side by side."""

from pathlib import Path
from typing import Annotated

import typer

from attention_atlas.cli.options import AsJson, complete_run
from attention_atlas.cli.runs import choose_sample, must_have_maps, open_run, presentable_sample
from attention_atlas.console import print_json
from attention_atlas.errors import InputError, counted


def gallery(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, one panel each.", show_default=False, autocompletion=complete_run
        ),
    ],
    save: Annotated[Path, typer.Option(help="Figure to write (.png, .pdf, .svg).")],
    sample: Annotated[
        list[str] | None,
        typer.Option(help="Sample id, once for each run; without it a short one that is right."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Save a picture with one sample of each run side by side."""
    from attention_atlas.analysis.figures import gallery_figure, save_figure

    if sample and len(sample) != len(runs):
        raise InputError(
            f"There are {counted(len(runs), 'run')} and {counted(len(sample), 'sample')}: give "
            "--sample once for each run."
        )
    atlases = [open_run(run) for run in runs]
    if sample:
        chosen = [choose_sample(atlas, name) for atlas, name in zip(atlases, sample, strict=True)]
    else:
        chosen = [presentable_sample(atlas) for atlas in atlases]
    for run, atlas, shown in zip(runs, atlases, chosen, strict=True):
        if not len(shown.readout):
            must_have_maps(atlas, shown, run)
    save_figure(gallery_figure(list(zip(atlases, chosen, strict=True))), save)
    if as_json:
        ids = [shown.sample_id for shown in chosen]
        print_json({"saved": str(save), "runs": runs, "sample_ids": ids})
    else:
        print(f"Saved {save}")
