"""`atlas record`: maps of any model on any data, without training."""

from pathlib import Path
from typing import Annotated

import typer

from attention_atlas.cli.console import print_json, progress_bar
from attention_atlas.cli.options import AsJson, Device, LabelColumn, TextColumn
from attention_atlas.cli.runs import new_atlas
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
        typer.Option(help="text, image or audio; without it what the files look like."),
    ] = None,
    num_samples: Annotated[
        int | None,
        typer.Option(min=0, help="Samples that keep full maps; without it all of them do."),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs that run together.")] = 32,
    clip_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds of each sound file that the model reads.")
    ] = 1.0,
    dtype: Annotated[str, typer.Option(help="Of the maps: float16 or float32.")] = "float16",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Record the maps of any model on any data."""
    if modality is not None and modality not in MODALITIES:
        raise InputError(f"--modality {modality} is not possible: take text, image or audio.")
    if dtype not in ("float16", "float32"):
        raise InputError(f"--dtype {dtype} is not possible: take float16 or float32.")
    from attention_atlas.cli.inputs import inputs_of, inputs_of_run
    from attention_atlas.data.file_types import modality_of_data

    run = Path(model) if is_run(Path(model)) else None
    found = modality or modality_of_data(data)
    if run is None:
        inputs = inputs_of(found, [str(data)], text_column, label_column)
    else:
        inputs = inputs_of_run(run, [str(data)], text_column, label_column)
    with new_atlas(out) as atlas_path:
        from attention_atlas.atlas import open_atlas
        from attention_atlas.cli.inputs import TOKEN_LIMIT, is_cut
        from attention_atlas.pipeline.predict import reader_of_model, reader_of_run, record_inputs

        reader = reader_of_model(model, found, clip_seconds) if run is None else reader_of_run(run)
        with progress_bar("samples") as progress:
            record_inputs(
                reader,
                inputs,
                atlas_path,
                data=data.name,
                batch_size=batch_size,
                num_samples=num_samples,
                dtype=dtype,
                device=device,
                progress=progress,
            )
        max_tokens = reader.max_tokens
        cut = (
            sum(is_cut(each, max_tokens) for each in open_atlas(atlas_path))
            if found == "text"
            else 0
        )
    if as_json:
        print_json({"atlas": str(atlas_path), "samples": len(inputs), "cut": cut})
        return
    whole = len(inputs) if num_samples is None else min(num_samples, len(inputs))
    full = "" if whole == len(inputs) else f", {whole} of them with full maps,"
    samples = "sample" if len(inputs) == 1 else "samples"
    if cut:
        print(
            f"{cut} of the texts {'was' if cut == 1 else 'were'} cut: {TOKEN_LIMIT} than "
            f"{max_tokens}."
        )
    print(f"{len(inputs)} {samples}{full} in {out}    next: atlas show {out}")
