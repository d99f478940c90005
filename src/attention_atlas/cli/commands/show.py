"""`atlas show`: a sample with the weights of its tokens."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.cli.console import make_console, print_json, print_parts
from attention_atlas.cli.options import AsJson, Epoch, Run, SampleName
from attention_atlas.cli.runs import choose_sample, must_have_maps, open_run

if TYPE_CHECKING:
    from attention_atlas.analysis.views import View
    from attention_atlas.atlas import Sample


def show(
    run: Run,
    sample: SampleName = None,
    layer: Annotated[
        int | None,
        typer.Option(
            help="Layer, counted from 0; without it the readout or, if that is a plain mean, "
            "the last layer."
        ),
    ] = None,
    head: Annotated[int | None, typer.Option(help="Head; without it the mean of all.")] = None,
    query: Annotated[
        int | None,
        typer.Option(
            help="Query token of the layer; without it the mean of all, which is the attention "
            "that each token receives."
        ),
    ] = None,
    epoch: Epoch = None,
    save: Annotated[
        Path | None, typer.Option(help="Write a figure here (.png, .pdf, .svg) instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a sample with the weights of its tokens."""
    from attention_atlas.analysis.views import pick

    atlas = open_run(run)
    chosen = choose_sample(atlas, sample, epoch)
    if layer is not None or not len(chosen.readout):
        must_have_maps(atlas, chosen, run)
    view = pick(chosen, layer, head, query)
    if save is not None:
        from attention_atlas.analysis.figures import sample_figure, save_figure

        save_figure(sample_figure(atlas.attributes, chosen, view), save)
        print(f"Saved {save}")
    elif as_json:
        print_json(_described(chosen, view))
    else:
        from attention_atlas.analysis.terminal import draw

        console = make_console()
        print_parts(*draw(console, atlas.attributes, chosen, view), console=console)


def _described(sample: "Sample", view: "View") -> dict[str, Any]:
    return {
        "sample_id": sample.sample_id,
        "epoch": sample.epoch,
        "label": sample.label_name,
        "prediction": sample.prediction_name,
        "weights_of": view.description,
        "tokens": sample.tokens,
        "boxes": [None if any(x != x for x in box) else box for box in sample.boxes.tolist()],
        "weights": view.weights,
        "signed": view.signed,
        "null_share": view.null_share,
    }
