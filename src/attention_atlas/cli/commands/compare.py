"""`atlas compare`: runs side by side, and sample by sample."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.cli.console import print_json, print_prose, progress_bar
from attention_atlas.cli.options import AsJson, complete_run
from attention_atlas.cli.runs import must_exist, open_run
from attention_atlas.errors import InputError

if TYPE_CHECKING:
    from attention_atlas.analysis.comparison import Comparison, SampleComparison

FEW = 5  # samples that are shown
SUFFIXES = (".png", ".pdf", ".svg", ".md")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run folders; those that differ in the seed alone are one row.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ],
    samples: Annotated[
        bool | None,
        typer.Option(
            help="Compare the maps of each sample with those of the first run; by default where "
            "there are two runs.",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write a figure (.png, .pdf, .svg) or the table (.md) here too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs, and where their maps differ.

    Accuracy, cost, heads and faithfulness side by side; runs that differ in the seed alone are one
    row with an interval. Differences within the interval are ties.
    """
    from attention_atlas.analysis.comparison import compare_runs
    from attention_atlas.analysis.files import check_output
    from attention_atlas.atlas.stores import is_url

    if len(runs) < 2:
        raise InputError("There is one run only: give two or more to compare.")
    if save is not None:
        check_output(save, SUFFIXES)
    for run in runs:
        if not is_url(run):
            must_exist(run)
    with progress_bar("runs") as progress:
        comparison = compare_runs(runs, progress)
    by_sample = _compare_samples(runs) if samples or (samples is None and len(runs) == 2) else []
    if save is not None:
        _save(comparison, save)
    if as_json:
        found = [result if isinstance(result, str) else result.to_json() for result in by_sample]
        print_json({**comparison.to_json(), "samples": found})
        return
    _print_groups(comparison)
    for run, result in zip(runs[1:], by_sample, strict=False):
        print()
        if isinstance(result, str):
            print_prose(result)
        else:
            _print_samples(runs[0], run, result)
    if save is not None:
        print(f"\nSaved {save}")


def _compare_samples(runs: list[str]) -> "list[SampleComparison | str]":
    """Compare the first run with each other one; a sentence where that cannot be done."""
    from attention_atlas.analysis.comparison import compare_samples, why_not_samples

    first, *others = (open_run(run) for run in runs)
    found: list[SampleComparison | str] = []
    for other in others:
        reason = why_not_samples(first, other)
        if reason is not None:
            found.append(reason)
            continue
        with progress_bar("samples") as progress:
            found.append(compare_samples(first, other, progress=progress))
    return found


def _save(comparison: "Comparison", path: Path) -> None:
    if path.suffix.lower() == ".md":
        from attention_atlas.analysis.comparison import comparison_markdown
        from attention_atlas.analysis.files import draft

        with draft(path) as unfinished:
            unfinished.write_text(comparison_markdown(comparison), encoding="utf-8")
        return
    from attention_atlas.analysis.comparison.figure import compare_figure
    from attention_atlas.analysis.figures import save_figure

    save_figure(compare_figure(comparison), path)


def _print_groups(comparison: "Comparison") -> None:
    from attention_atlas.analysis.comparison import describe_quantity
    from attention_atlas.analysis.comparison.markdown import default_quantities, interval_in_words
    from attention_atlas.cli.tables import print_table

    for number, (task, data) in enumerate(comparison.tasks):
        groups = comparison.of_task(task, data)
        names = [
            name
            for name in default_quantities(comparison)
            if any(name in group.intervals for group in groups)
        ]
        best = {name: comparison.best(task, data, name) for name in names}
        described = {name: describe_quantity(name) for name in names}
        headings = [f"{q.title} ({q.unit})" if q.unit else q.title for q in described.values()]
        rows = []
        for group in groups:
            cells = []
            for name, quantity in described.items():
                interval = group.intervals.get(name)
                words = "-" if interval is None else interval_in_words(interval, quantity)
                cells.append(words + (" *" if group.label in best[name] else "  "))
            rows.append([group.label, str(len(group.runs)), *cells])
        print("\n" * bool(number) + f"{task}, {data}")
        print_table(["attention", "runs", *headings], rows, ("runs",), in_pieces=True)
    print()
    print_prose(
        "In brackets the interval of 95 %, over runs where there are several, else over the "
        "samples of the one run. * is the best, and what ties with it: the interval of the "
        "difference includes 0."
    )
    for note in comparison.notes:
        print_prose(f"- {note}")


def _print_samples(first: str, second: str, result: "SampleComparison") -> None:
    from attention_atlas.cli.tables import print_facts, print_table

    print_prose(f"Sample by sample, from {first} to {second}:")
    changes = result.changes
    facts: list[tuple[str, str | list[str]]] = [
        ("in both", str(len(result.samples))),
        ("in one only", f"{result.only_first} and {result.only_second}"),
        (
            "predictions",
            [
                f"{changes['same']} the same",
                f"{changes['fixed']} now right",
                f"{changes['broken']} now wrong",
                f"{changes['changed']} wrong in another way",
            ],
        ),
        ("p of so uneven a change", f"{result.p_value:.3f} (McNemar)"),
        ("divergence of readouts", "-" if result.readout is None else f"{result.readout:.3f} bits"),
    ]
    for layer, divergence in enumerate(result.layers):
        name = f"divergence of layer {layer}"
        facts.append((name, f"{divergence:.3f} bits (mean of {result.num_mapped} samples)"))
    print_facts(facts)
    most = result.most_different(FEW)
    if most:
        print("\nMost different:")
        rows: list[list[Any]] = [
            [
                each.sample_id,
                each.label,
                each.first,
                each.second,
                "-" if each.readout is None else f"{each.readout:.3f}",
            ]
            for each in most
        ]
        headings = ["sample", "label", "first", "second", "divergence (bits)"]
        print_table(headings, rows, ("divergence (bits)",))
    for note in result.notes:
        print_prose(f"- {note}")
