"""`atlas stats`: what the heads of a run do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from attention_atlas.cli.head_table import (
    HeadNumber,
    list_numbers,
    table_by_head,
    table_by_layer,
    write_csv,
)
from attention_atlas.cli.options import AsJson, Epoch, Run, SaveFigure, check_outputs
from attention_atlas.cli.runs import local_run, open_run
from attention_atlas.cli.tables import print_table
from attention_atlas.console import print_json, print_prose, progress_bar

if TYPE_CHECKING:
    import numpy.typing as npt

    from attention_atlas.analysis.heads import HeadStatistics
    from attention_atlas.analysis.heads.importance import HeadImportance
    from attention_atlas.atlas import Atlas


By = Literal["head", "layer"]
Measure = Literal["jensen_shannon", "cka"]

# Of each, the caption of the table and the title of the panel.
SIMILARITIES: dict[Measure, tuple[str, str]] = {
    "jensen_shannon": (
        "Jensen-Shannon divergence of heads (layer.head) in bits; 0 is alike:",
        "divergence of heads (bits; 0: alike)",
    ),
    "cka": ("Linear CKA of heads (layer.head); 1 is alike:", "linear CKA of heads (1: alike)"),
}
AGREEMENT = (
    "Agreement of layers, 1 - Jensen-Shannon divergence; 1 is alike:",
    "agreement of layers (1: alike)",
)


class Matrix(NamedTuple):
    """Values of each pair of heads or of layers [n, n], and what they are called."""

    key: str
    what: str
    caption: str
    title: str
    labels: list[str]
    values: "npt.NDArray[Any]"


def stats(
    run: Run,
    by: Annotated[By, typer.Option(help="A row for each head, or the mean of a layer.")] = "head",
    epoch: Epoch = None,
    importance: Annotated[
        bool,
        typer.Option(
            "--importance",
            help="Add how much the loss depends on each head; this runs the model of the run.",
        ),
    ] = False,
    num_samples: Annotated[
        int, typer.Option(min=1, help="Test samples that the importance is of.")
    ] = 200,
    similarity: Annotated[
        Measure | None,
        typer.Option(help="Add how alike each pair of heads, and each pair of layers, is."),
    ] = None,
    save: SaveFigure = None,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", help="Write all numbers here too (.csv).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what every head does.

    Entropy, also relative to the uniform, distance, sink score; how alike heads are; how much the
    loss depends on each.
    """
    from attention_atlas.analysis.heads import head_statistics

    check_outputs(save, csv_path)
    folder = local_run(run) if importance else None
    atlas = open_run(run)
    with progress_bar("statistics of heads") as progress:
        statistics = head_statistics(atlas, epoch, progress)
    matrices = [] if similarity is None else _matrices(atlas, similarity, epoch)
    found = None if folder is None else _importance(folder, num_samples)
    numbers = list_numbers(statistics, found)
    if csv_path is not None:
        write_csv(numbers, csv_path)
    if save is not None:
        from attention_atlas.analysis.figures import save_figure
        from attention_atlas.analysis.heads.figure import heads_figure

        drawn = None if found is None else (found.layers, found.readout)
        pairs = [(each.title, each.what, each.values) for each in matrices]
        save_figure(heads_figure(statistics, drawn, pairs), save)
    if as_json:
        print_json(_described(statistics, numbers, similarity, matrices))
        return
    _print(statistics, numbers, by, matrices)
    for path in (save, csv_path):
        if path is not None:
            print(f"Saved {path}")


def _matrices(atlas: "Atlas", measure: Measure, epoch: int | None) -> list[Matrix]:
    """Return the similarity of heads, and the agreement of layers."""
    from attention_atlas.analysis.heads import head_similarity, layer_agreement

    with progress_bar("similarity of heads") as progress:
        heads = head_similarity(atlas, measure, epoch, progress=progress)
    with progress_bar("agreement of layers") as progress:
        layers = layer_agreement(atlas, epoch, progress=progress)
    per_layer = len(heads) // max(1, len(atlas.layers))
    names = [f"{index // per_layer}.{index % per_layer}" for index in range(len(heads))]
    numbers = [str(index) for index in range(len(layers))]
    return [
        Matrix("head_similarity", "head", *SIMILARITIES[measure], names, heads),
        Matrix("layer_agreement", "layer", *AGREEMENT, numbers, layers),
    ]


def _importance(folder: Path, num_samples: int) -> "HeadImportance":
    from attention_atlas.pipeline.faithfulness import head_importance_of

    with progress_bar("importance of heads") as progress:
        show = None if progress is None else lambda done: progress(done, num_samples)
        return head_importance_of(folder, num_samples, show)


def _described(
    statistics: "HeadStatistics",
    numbers: list[HeadNumber],
    measure: Measure | None,
    matrices: list[Matrix],
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "epoch": statistics.epoch,
        "layers": statistics.layers,
        "num_samples": statistics.num_samples,
        "numbers": [number._asdict() for number in numbers],
        "notes": statistics.notes,
    }
    if measure is not None:
        described["similarity_measure"] = measure
    return described | {each.key: each.values for each in matrices}


def _print(
    statistics: "HeadStatistics", numbers: list[HeadNumber], by: By, matrices: list[Matrix]
) -> None:
    headings, rows = table_by_head(numbers) if by == "head" else table_by_layer(numbers)
    print_table(headings, rows, headings[1:], in_pieces=True)
    if by == "head":
        print("\nMeans over samples ± their standard deviation.")
    for each in matrices:
        rows = [
            [label, *(f"{value:.2f}" for value in row)]
            for label, row in zip(each.labels, each.values, strict=True)
        ]
        print()
        print_prose(each.caption)
        print_table([each.what, *each.labels], rows, each.labels, in_pieces=True)
    for note in statistics.notes:
        print_prose(f"- {note}")
