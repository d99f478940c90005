"""`atlas info`: what a run recorded."""

from collections import Counter
from dataclasses import asdict
from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.attention_options import describe_mechanism
from attention_atlas.cli.options import AsJson, Run
from attention_atlas.cli.runs import FEW, must_exist, open_run, read_accuracy
from attention_atlas.cli.tables import format_size, format_value, percent, print_facts, print_table
from attention_atlas.console import fixed_width, one_line, print_json
from attention_atlas.output_files import FIGURE_SUFFIXES, check_output
from attention_atlas.run_folder import read_result

if TYPE_CHECKING:
    from attention_atlas.analysis.confusion import ClassScores
    from attention_atlas.atlas import Atlas

DAMAGED = 1  # exit code
MAX_CLASSES = 40  # that are listed for people
LETTERS = 16  # of a digest, in a terminal
TOKEN_LAYOUT_NAMES = {
    "character_span": "character spans",
    "patch_box": "patch boxes",
    "time_frequency_box": "time-frequency boxes",
}


def info(
    run: Run,
    mapped: Annotated[
        bool, typer.Option("--mapped", help="List the ids of all samples with full maps instead.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Look at every stored chunk instead; exit code 1 where one is damaged.",
        ),
    ] = False,
    classes: Annotated[
        bool,
        typer.Option(
            "--classes", help="Show precision, recall, F1 and support of each class instead."
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="Save the confusion matrix as a figure: .png, .pdf or .svg."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run recorded, or whether it is whole.

    Data, mechanism, layers, samples, epochs, sizes, versions.
    """
    if classes or save is not None:
        _show_classes(run, save, as_json)
        return
    atlas = open_run(run)
    if verify:
        _verify(atlas, as_json)
        return
    if mapped:
        ids = atlas.mapped_sample_ids
        if as_json:
            print_json(ids)
        else:
            print("\n".join(map(one_line, ids)))
        return
    facts = _facts(atlas)
    if as_json:
        print_json(facts)
    else:
        print_facts(_worded(facts))


def _show_classes(run: str, save: Path | None, as_json: bool) -> None:
    """Print a row for each class, and save the confusion matrix."""
    from attention_atlas.analysis.confusion import class_scores, confusion_of

    if save is not None:
        check_output(save, FIGURE_SUFFIXES)
    must_exist(run)
    confusion = confusion_of(read_result(run))
    scores = class_scores(confusion)
    if as_json:
        of_classes = [asdict(each) for each in scores]
        print_json({"classes": of_classes, "confusion": confusion.to_json()})
    else:
        _print_scores(scores)
    if save is not None:
        from attention_atlas.analysis.figures import confusion_figure, save_figure

        save_figure(confusion_figure(confusion), save)


def _print_scores(scores: "list[ClassScores]") -> None:
    """Print a row for each class; of many, on a terminal, for those of the lowest F1."""
    shown = scores
    if fixed_width() is not None and len(scores) > MAX_CLASSES:
        order = sorted(range(len(scores)), key=lambda index: _or_infinity(scores[index].f1))
        shown = [scores[index] for index in sorted(order[:MAX_CLASSES])]
    headings = ["class", "precision", "recall", "F1", "support"]
    rows = [
        [
            each.name,
            *("-" if isnan(x) else percent(x) for x in (each.precision, each.recall, each.f1)),
            f"{each.support:,}",
        ]
        for each in shown
    ]
    print_table(headings, rows, headings[1:])
    if len(shown) < len(scores):
        print(f"the {len(shown)} of {len(scores):,} classes with the lowest F1; --json has all")


def _or_infinity(f1: float) -> float:
    """Return F1, or infinity where there is none, to sort by."""
    return inf if isnan(f1) else f1


def _verify(atlas: "Atlas", as_json: bool) -> None:
    """Say whether every chunk is whole."""
    found = atlas.verify()
    if as_json:
        print_json({**asdict(found), "is_whole": found.is_whole})
    else:
        print(found)
    if not found.is_whole:
        raise typer.Exit(DAMAGED)


def _facts(atlas: "Atlas") -> dict[str, Any]:
    from attention_atlas.atlas import SCHEMA_VERSION

    attributes = atlas.attributes
    samples = list(atlas)
    lengths = sorted(sample.length for sample in samples)
    labelled = [sample for sample in samples if min(sample.label, sample.prediction) >= 0]
    correct = sum(sample.label == sample.prediction for sample in labelled)
    mapped = atlas.mapped_sample_ids
    return {
        "atlas": str(atlas.location),
        "task": atlas.task,
        "data": atlas.data,
        "classes": atlas.classes,
        "mechanism": attributes.mechanism,
        "signed_maps": attributes.signed,
        "layers": atlas.layers,
        "heads": samples[0].entropy.shape[1],
        "readout_heads": len(samples[0].readout),
        "token_layout": attributes.token_layout,
        "tokens_per_sample": {
            "least": lengths[0],
            "median": lengths[len(lengths) // 2],
            "most": lengths[-1],
        },
        "samples": len(samples),
        "with_full_maps": len(mapped),
        "mapped_sample_ids": mapped,
        "splits": dict(Counter(sample.split for sample in samples)),
        "epochs": atlas.epochs,
        "samples_per_epoch": {
            str(epoch): sum(1 for _ in atlas.samples(epoch)) for epoch in atlas.epochs
        },
        "accuracy_of_samples": round(correct / len(labelled), 4) if labelled else None,
        "test_accuracy": read_accuracy(atlas),
        "repeated_rows_dropped": atlas.num_repeated,
        "finished": atlas.finished,
        "bytes": atlas.num_bytes,
        "bytes_of_arrays": atlas.array_bytes,
        "checkpoint_digest": attributes.checkpoint_digest,
        "schema_version": SCHEMA_VERSION,
        "versions": attributes.versions,
    }


def _worded(facts: dict[str, Any]) -> list[tuple[str, str | list[str]]]:
    """Return the facts in words, with units, and examples of long lists."""
    ids = facts["mapped_sample_ids"]
    more = [f"… (--mapped lists all {len(ids)})"] if len(ids) > FEW else []
    classes, options = facts["classes"], facts["mechanism"]
    more_classes = [f"… (--json lists all {len(classes):,})"] if len(classes) > MAX_CLASSES else []
    changes: dict[str, str | list[str]] = {
        "token_layout": TOKEN_LAYOUT_NAMES[facts["token_layout"]],
        "mechanism": describe_mechanism(options),
        "classes": [*classes[:MAX_CLASSES], *more_classes],
        "mapped_sample_ids": [*ids[:FEW], *more] or "none",
        "bytes": format_size(facts["bytes"]),
    }
    digest = facts["checkpoint_digest"]
    if digest and fixed_width() is not None:
        changes["checkpoint_digest"] = f"{digest[:LETTERS]}… (whole by --json)"
    for name in ("accuracy_of_samples", "test_accuracy"):
        if facts[name] is not None:
            changes[name] = percent(facts[name])
    renamed = {"mapped_sample_ids": "such as", "bytes": "size"}
    worded: list[tuple[str, str | list[str]]] = []
    for name, value in facts.items():
        if name == "samples_per_epoch" and len(value) < 2:
            continue
        if name == "bytes_of_arrays":
            sizes = list(value.items())[:FEW]
            worded += [(f"  {array}", format_size(size)) for array, size in sizes]
            continue
        shown = changes.get(name, format_value(value))
        worded.append((renamed.get(name, name.replace("_", " ")), shown))
        if name == "mechanism":
            worded += [(f"  {option}", format_value(value)) for option, value in options.items()]
    return worded
