"""`atlas show`: a sample with the weights of its tokens."""

from pathlib import Path
from typing import Annotated

import typer

from attention_atlas.cli.attributions import describe_sample, show_attributions
from attention_atlas.cli.console import make_console, print_json, print_parts
from attention_atlas.cli.options import AsJson, Epoch, Run, SampleName
from attention_atlas.cli.runs import choose_sample, must_have_maps, open_run
from attention_atlas.errors import InputError
from attention_atlas.output_files import check_output


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
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Attribution such as rollout, computed with the model of the run; may be "
            "repeated. Another name than one of them lists all.",
        ),
    ] = None,
    epoch: Epoch = None,
    save: Annotated[
        Path | None, typer.Option(help="Write a figure here (.png, .pdf, .svg) instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a sample with the weights of its tokens."""
    if save is not None:
        check_output(save, (".png", ".pdf", ".svg"))
    if method:
        if (layer, head, query, epoch) != (None, None, None, None):
            raise InputError(
                "--method goes with no --layer, --head, --query or --epoch: it is of the whole "
                "model, with its best weights. raw:1.3 is layer 1, head 3."
            )
        show_attributions(run, sample, method, save, as_json)
        return
    from attention_atlas.analysis.token_weights import pick

    atlas = open_run(run)
    chosen = choose_sample(atlas, sample, epoch)
    if layer is not None or not len(chosen.readout):
        must_have_maps(atlas, chosen, run)
    view = pick(chosen, layer, head, query)
    if save is not None:
        from attention_atlas.analysis.figures import sample_figure, save_figure

        save_figure(sample_figure(atlas.attributes, chosen, view), save)
    if as_json:
        described = {
            "weights_of": view.description,
            "weights": view.weights,
            "signed": view.signed,
            "null_share": view.null_share,
        }
        print_json({**describe_sample(chosen), "epoch": chosen.epoch, **described})
    elif save is not None:
        print(f"Saved {save}")
    else:
        from attention_atlas.analysis.terminal import draw

        console = make_console()
        print_parts(*draw(console, atlas.attributes, chosen, view), console=console)
