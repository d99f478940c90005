"""`atlas show`: a sample with the weights of its tokens, from its atlas or by the model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.cli.options import AsJson, Epoch, Run, SampleName, check_outputs
from attention_atlas.cli.runs import (
    choose_sample,
    describe_sample,
    known_faithfulness,
    local_run,
    must_have_maps,
    open_run,
)
from attention_atlas.console import make_console, print_json, print_parts
from attention_atlas.errors import InputError

if TYPE_CHECKING:
    from attention_atlas.analysis.token_weights import View
    from attention_atlas.atlas import Atlas, Sample

READ = "read"  # instead of the name of a method


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
    whole_map: Annotated[
        bool,
        typer.Option("--map", help="Draw the map of the layer itself, queries by keys."),
    ] = False,
    epoch: Epoch = None,
    save: Annotated[
        Path | None, typer.Option(help="Write a figure here (.png, .pdf, .svg) instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a sample with the weights of its tokens."""
    check_outputs(save)
    if method and (layer, head, query, epoch) != (None, None, None, None):
        raise InputError(
            "--method cannot be combined with --layer, --head, --query or --epoch: it explains the "
            "whole model with its best weights. raw:1.3 is layer 1, head 3."
        )
    if whole_map and (layer is None or query is not None or method):
        raise InputError(
            "--map draws all queries by all keys of a layer: give --layer, and --head for one of "
            "its heads, without --query and --method."
        )
    folder = local_run(run) if method else None
    atlas = open_run(run)
    chosen = choose_sample(atlas, sample, epoch)
    if whole_map and layer is not None:
        must_have_maps(atlas, chosen, run)
        _show_map(chosen, layer, head, save, as_json)
        return
    if folder is not None and method:
        views = _attribute(folder, chosen, method)
    else:
        from attention_atlas.analysis.token_weights import pick

        if layer is not None or not len(chosen.readout):
            must_have_maps(atlas, chosen, run)
        views = {READ: pick(chosen, layer, head, query)}
    if save is not None:
        _save(save, atlas, chosen, views, folder)
    if as_json:
        print_json({**describe_sample(chosen), "epoch": chosen.epoch, **_described(views)})
    elif save is not None:
        print(f"Saved {save}")
    else:
        _draw(atlas, chosen, views)


def _show_map(
    sample: "Sample", layer: int, head: int | None, save: Path | None, as_json: bool
) -> None:
    """Draw the map of a layer, queries by keys."""
    from attention_atlas.analysis.token_weights import pick_map

    weights, description = pick_map(sample, layer, head)
    if save is not None:
        from attention_atlas.analysis.figures import save_figure
        from attention_atlas.plot import attention_map

        title = f"{sample.sample_id}\n{description}"
        figure = attention_map(weights, sample.tokens, title=title, signed=sample.signed)
        save_figure(figure, save)
    if as_json:
        described = {**describe_sample(sample), "epoch": sample.epoch, "map_of": description}
        print_json({**described, "tokens": sample.tokens, "map": weights, "signed": sample.signed})
    elif save is not None:
        print(f"Saved {save}")
    else:
        from attention_atlas.analysis.terminal import heading
        from attention_atlas.analysis.terminal_map import draw_map

        console = make_console()
        print_parts(console, *heading(sample), description, "")
        tokens = sample.tokens
        print_parts(console, *draw_map(console, weights, tokens, tokens, sample.signed))


def _draw(atlas: "Atlas", sample: "Sample", views: "dict[str, View]") -> None:
    """Print the sample with the weights of each view."""
    from attention_atlas.analysis.terminal import draw_weights, heading

    console = make_console()
    print_parts(console, *heading(sample))
    for name, view in views.items():
        gap = [] if name == READ else [""]
        print_parts(console, *gap, *draw_weights(console, atlas.attributes, sample, view))


def _described(views: "dict[str, View]") -> dict[str, Any]:
    if READ not in views:
        return {
            "attributions": {
                method: {"title": view.description, "weights": view.weights, "signed": view.signed}
                for method, view in views.items()
            }
        }
    view = views[READ]
    return {
        "weights_of": view.description,
        "weights": view.weights,
        "signed": view.signed,
        "null_share": view.null_share,
    }


def _save(
    path: Path, atlas: "Atlas", sample: "Sample", views: "dict[str, View]", folder: Path | None
) -> None:
    """Write a figure of one view or, of a run whose model was used, of each attribution."""
    from attention_atlas.analysis.figures import sample_figure, save_figure

    if folder is None:
        save_figure(sample_figure(atlas.attributes, sample, views[READ]), path)
        return
    from attention_atlas.analysis.faithfulness.figures import attributions_figure

    weights = {method: view.weights for method, view in views.items()}
    measured = known_faithfulness(folder)
    is_measured = measured is not None and sample.sample_id in measured.sample_ids
    scores = measured.scores(sample.sample_id) if measured and is_measured else None
    save_figure(attributions_figure(atlas.attributes, sample, weights, scores), path)


def _attribute(folder: Path, sample: "Sample", methods: list[str]) -> "dict[str, View]":
    """Return the weights of each method with a description."""
    from attention_atlas.analysis.attributions import find_method
    from attention_atlas.analysis.token_weights import View
    from attention_atlas.pipeline.faithfulness import attribute_sample

    found = {method: find_method(method) for method in methods}
    weights = attribute_sample(folder, sample.sample_id, methods, sample.split)
    views = {}
    for method, values in weights.items():
        if len(values) != sample.length:
            raise InputError(
                f"The atlas shows {sample.length} tokens of {sample.sample_id!r} and the model "
                f"sees {len(values)}: its data has changed since the maps were recorded."
            )
        paper = f" ({found[method].paper})" if found[method].paper else ""
        views[method] = View(
            values,
            f"{found[method].title}{paper}",
            signed=found[method].signed or bool((values < 0).any()),
            unit="attribution",
        )
    return views
