"""`atlas predict`: the class of new inputs, and what mattered for it."""

import os
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.cli.options import AsJson, Device, LabelColumn, RunFolder, TextColumn
from attention_atlas.cli.runs import describe_sample, local_run, new_atlas
from attention_atlas.console import make_console, print_json, print_parts, progress_bar
from attention_atlas.run_folder import ATLAS_FOLDER

if TYPE_CHECKING:
    from attention_atlas.analysis.token_weights import View
    from attention_atlas.atlas import Atlas, Sample
    from attention_atlas.data.user_inputs import UserInput

    Views = list[tuple[Sample, View]]

MAX_DRAWN = 3  # inputs; of more there is a table
TOP_TOKENS = 3  # that a row of the table names


def predict(
    run: RunFolder,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Sentences, files or folders; - reads lines of standard input.",
            show_default=False,
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="Attribution such as rollout; without it the readout, or the mean of the last "
            "layer where it has no weights."
        ),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder that an atlas of the maps is made in.")
    ] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Predict the class of new inputs, and what mattered.

    The tokens, patches or times with the largest weights are shown. Only the run folder is
    needed: the data that the model was trained on is not read.
    """
    folder = local_run(run)
    from attention_atlas.cli.inputs import inputs_of

    given = inputs_of(folder, inputs, text_column, label_column)
    with ExitStack() as stack:
        if out is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / ATLAS_FOLDER
        else:
            path = stack.enter_context(new_atlas(out))
        atlas, views, max_tokens = _predict(folder, given, path, method, out is not None, device)
        names = {each.name: str(each.content) for each in given}
        if as_json:
            print_json([_described(atlas, names, *pair, max_tokens) for pair in views])
        elif len(views) <= MAX_DRAWN:
            _draw(atlas, names, views, max_tokens)
        else:
            _tabulate(atlas, names, views, max_tokens)
    if out is not None and not as_json:
        print(f"maps: {out}    next: atlas show {out}")


def _predict(
    folder: Path,
    inputs: "list[UserInput]",
    path: Path,
    method: str | None,
    saves_maps: bool,
    device: str | None,
) -> "tuple[Atlas, Views, int | None]":
    """Return the atlas of the inputs, their views, and the most tokens of an input."""
    from attention_atlas.atlas import open_atlas
    from attention_atlas.pipeline.predict import predictor_of_run, record_inputs

    methods = []
    if method is not None:
        from attention_atlas.analysis.attributions import find_method

        methods = [find_method(method).name]
    predictor = predictor_of_run(folder)
    needs_maps = saves_maps or (method is None and predictor.readout_layer is None)
    with progress_bar("inputs") as progress:
        weights = record_inputs(
            predictor,
            inputs,
            path,
            num_samples=None if needs_maps else 0,
            methods=methods,
            device=device,
            progress=progress,
        )
    atlas = open_atlas(path)
    views = [(sample, _view(sample, weights.get(sample.sample_id, {}), method)) for sample in atlas]
    return atlas, views, predictor.max_tokens


def _view(sample: "Sample", weights: dict[str, list[float]], method: str | None) -> "View":
    """The weights of the tokens by the method, or as the atlas has them."""
    from attention_atlas.analysis.token_weights import View, pick

    if method is None:
        return pick(sample)
    import numpy as np

    from attention_atlas.analysis.attributions import find_method

    found = find_method(method)
    values = np.asarray(weights[found.name], dtype=np.float32)
    return View(
        values, found.title, signed=found.signed or bool((values < 0).any()), unit="attribution"
    )


def _described(
    atlas: "Atlas", names: dict[str, str], sample: "Sample", view: "View", max_tokens: int | None
) -> dict[str, Any]:
    from attention_atlas.cli.inputs import characters_read

    chances = sample.probabilities
    is_text = atlas.attributes.token_layout == "character_span"
    read = {"characters_read": characters_read(sample, max_tokens)} if is_text else {}
    return {
        "input": names[sample.sample_id],
        **describe_sample(sample),
        "confidence": chances[sample.prediction],
        "probabilities": dict(zip(atlas.classes, chances.tolist(), strict=True)),
        **read,
        "weights_of": view.description,
        "weights": view.weights,
    }


def _draw(atlas: "Atlas", names: dict[str, str], views: "Views", max_tokens: int | None) -> None:
    from attention_atlas.analysis.terminal import draw_weights
    from attention_atlas.cli.inputs import TOKEN_LIMIT, characters_read, is_cut

    console = make_console()
    for sample, view in views:
        chance = sample.probabilities[sample.prediction]
        is_text = atlas.attributes.token_layout == "character_span"
        heading = f"{sample.prediction_name}, {100 * chance:.1f} %"
        print(heading if is_text else f"{names[sample.sample_id]}: {heading}")
        if is_text and is_cut(sample, max_tokens):
            read, size = characters_read(sample, max_tokens), len(sample.text)
            print(f"read up to character {read:,} of {size:,}: {TOKEN_LIMIT}")
        print_parts(console, *draw_weights(console, atlas.attributes, sample, view))
        print()


def _tabulate(
    atlas: "Atlas", names: dict[str, str], views: "Views", max_tokens: int | None
) -> None:
    from attention_atlas.cli.inputs import TOKEN_LIMIT, is_cut
    from attention_atlas.cli.tables import print_table

    is_text = atlas.attributes.token_layout == "character_span"
    folder = "" if is_text else _common_folder(names.values())
    rows = []
    for sample, view in views:
        chance = sample.probabilities[sample.prediction]
        name = names[sample.sample_id]
        shown_name = _short(name) if is_text else os.path.relpath(name, folder)
        tokens, is_shown = sample.tokens, sample.stands_in_input
        order = abs(view.weights).argsort()[::-1]
        shown = (index for index in order if tokens[index].strip() and is_shown[index])
        mattered = "; ".join([tokens[index] for index in shown][:TOP_TOKENS])
        rows.append([shown_name, sample.prediction_name, f"{100 * chance:.1f} %", mattered])
    print(f"What mattered: {views[0][1].description}{f'; files of {folder}' if folder else ''}")
    print_table(["input", "class", "confidence", "what mattered"], rows, ["confidence"])
    cut = [sample for sample, _ in views if is_text and is_cut(sample, max_tokens)]
    if cut:
        print(f"not read to the end, as {TOKEN_LIMIT}:")
        print("\n".join(f"  {_short(sample.text)}" for sample in cut))


def _common_folder(names: Iterable[str]) -> str:
    """The folder that all files lie in or below, whether they were given from `/` or from here."""
    return os.path.commonpath([os.path.abspath(Path(name).parent) for name in names])


def _short(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
