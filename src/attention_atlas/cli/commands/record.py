"""`atlas record`: maps of any model on any data, without training."""

from pathlib import Path
from typing import Annotated

import typer

from attention_atlas.cli.options import AsJson, Device, LabelColumn, TextColumn
from attention_atlas.cli.runs import new_atlas
from attention_atlas.console import print_json, progress_bar
from attention_atlas.errors import InputError
from attention_atlas.run_folder import is_run

MODALITIES = ("text", "image", "audio")


def record(
    model: Annotated[
        str,
        typer.Argument(
            help="Id of a model on the Hugging Face Hub, a folder with its files, minilm, or the "
            "folder of a run.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(help="CSV, TSV or .txt file, or a folder of texts, images or sound files."),
    ],
    out: Annotated[Path, typer.Option(help="Folder that the atlas is made in.")],
    modality: Annotated[
        str | None,
        typer.Option(help="text, image or audio; default: what the files look like."),
    ] = None,
    num_samples: Annotated[
        int | None,
        typer.Option(min=0, help="Samples stored with full maps; default: all."),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs that run together.")] = 32,
    clip_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds of each sound file that the model reads.")
    ] = 1.0,
    dtype: Annotated[str, typer.Option(help="Type of the maps: float16 or float32.")] = "float16",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Record the maps of any model on any data."""
    if modality is not None and modality not in MODALITIES:
        raise InputError(f"--modality {modality} is not possible: take text, image or audio.")
    if dtype not in ("float16", "float32"):
        raise InputError(f"--dtype {dtype} is not possible: take float16 or float32.")
    from attention_atlas.cli.inputs import inputs_of
    from attention_atlas.data.listing import modality_of_data

    run = Path(model) if is_run(Path(model)) else None
    found = modality or modality_of_data(data)
    inputs = inputs_of(run or found, [str(data)], text_column, label_column)
    with new_atlas(out) as path:
        from attention_atlas.pipeline.predict import (
            predictor_of_model,
            predictor_of_run,
            record_inputs,
        )

        predictor = (
            predictor_of_model(model, found, clip_seconds) if run is None else predictor_of_run(run)
        )
        with progress_bar("samples") as progress:
            record_inputs(
                predictor,
                inputs,
                path,
                data=data.name,
                batch_size=batch_size,
                num_samples=num_samples,
                dtype=dtype,
                device=device,
                progress=progress,
            )
    cut = _num_cut(path, predictor.max_tokens) if found == "text" else 0
    if as_json:
        print_json({"atlas": str(path), "samples": len(inputs), "cut": cut})
    else:
        _print_cut(cut, predictor.max_tokens)
        _print_count(len(inputs), num_samples, out)


def _num_cut(path: Path, max_tokens: int | None) -> int:
    from attention_atlas.atlas import open_atlas
    from attention_atlas.cli.inputs import is_cut

    return sum(is_cut(each, max_tokens) for each in open_atlas(path))


def _print_cut(cut: int, max_tokens: int | None) -> None:
    from attention_atlas.cli.inputs import TOKEN_LIMIT

    if cut:
        was = "was" if cut == 1 else "were"
        print(f"{cut} of the texts {was} cut: {TOKEN_LIMIT} than {max_tokens}.")


def _print_count(count: int, num_mapped: int | None, out: Path) -> None:
    whole = count if num_mapped is None else min(num_mapped, count)
    full = "" if whole == count else f", {whole} of them with full maps,"
    samples = "sample" if count == 1 else "samples"
    print(f"{count} {samples}{full} in {out}    next: atlas show {out}")
