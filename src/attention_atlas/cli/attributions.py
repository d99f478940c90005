"""Attributions of one sample by the model of its run, on the screen, in a figure or as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_atlas.cli.console import make_console, print_json, print_parts
from attention_atlas.cli.runs import choose_sample, local_run, open_run
from attention_atlas.errors import InputError
from attention_atlas.run_folder import FAITHFULNESS, read_json

if TYPE_CHECKING:
    from attention_atlas.analysis.token_weights import View
    from attention_atlas.atlas import Atlas, Sample


def describe_sample(sample: "Sample") -> dict[str, Any]:
    """Return the description of a sample in JSON, without its weights."""
    return {
        "sample_id": sample.sample_id,
        "label": sample.label_name,
        "prediction": sample.prediction_name,
        "tokens": sample.tokens,
        "boxes": [None if any(x != x for x in box) else box for box in sample.boxes.tolist()],
    }


def show_attributions(
    run: str, name: str | None, methods: list[str], save: Path | None, as_json: bool
) -> None:
    """Show one sample with the weights of each method.

    Raises:
        InputError: If the run has no model, there is no such sample or method, or a method does
            not apply to the mechanism.
    """
    folder, atlas = local_run(run), open_run(run)
    sample = choose_sample(atlas, name)
    views = _attribute(folder, atlas, sample, methods)
    if save is not None:
        from attention_atlas.analysis.faithfulness.figures import attributions_figure
        from attention_atlas.analysis.figures import save_figure

        weights = {method: view.weights for method, view in views.items()}
        figure = attributions_figure(
            atlas.attributes, sample, weights, _scores(folder, sample.sample_id)
        )
        save_figure(figure, save)
    if as_json:
        attributions = {
            method: {"title": view.description, "weights": view.weights, "signed": view.signed}
            for method, view in views.items()
        }
        print_json({**describe_sample(sample), "epoch": sample.epoch, "attributions": attributions})
    elif save is not None:
        print(f"Saved {save}")
    else:
        from attention_atlas.analysis.terminal import draw_weights, heading

        console = make_console()
        print_parts(*heading(sample), console=console)
        for view in views.values():
            print_parts("", *draw_weights(console, atlas.attributes, sample, view), console=console)


def _attribute(
    folder: Path, atlas: "Atlas", sample: "Sample", methods: list[str]
) -> dict[str, "View"]:
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


def _scores(folder: Path, sample_id: str) -> dict[str, float] | None:
    """Return how faithful each method is on the sample, if `atlas faithfulness` measured it."""
    from attention_atlas.analysis.faithfulness import Faithfulness

    try:
        content = read_json(folder, FAITHFULNESS)
        return None if content is None else Faithfulness.from_json(content).scores(sample_id)
    except InputError:
        return None
