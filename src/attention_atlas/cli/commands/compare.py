"""`atlas compare`: compare runs, also sample by sample."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.cli.options import AsJson, complete_run
from attention_atlas.cli.runs import must_exist, open_run
from attention_atlas.cli.tables import format_p_value, print_facts, print_table
from attention_atlas.console import fixed_width, print_json, print_prose, progress_bar
from attention_atlas.errors import InputError

if TYPE_CHECKING:
    from attention_atlas.analysis.comparison import Comparison, Group, SampleComparison
    from attention_atlas.analysis.comparison.metrics import Quantity

MAX_SAMPLES = 5  # in the table of the most different
MIN_DIVERGENCE = 0.001  # bits, the smallest printed number above 0
MAX_HEADING = 30  # characters of a label that heads a column


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
    from attention_atlas.output_files import FIGURE_SUFFIXES, check_output

    if len(runs) < 2:
        raise InputError("There is one run only: give two or more to compare.")
    if save is not None:
        check_output(save, (*FIGURE_SUFFIXES, ".md"))
    for run in runs:
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
    """Compare the first run with each other one; a message where that is impossible."""
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
        from attention_atlas.output_files import draft

        with draft(path) as unfinished:
            unfinished.write_text(comparison_markdown(comparison), encoding="utf-8")
        return
    from attention_atlas.analysis.comparison.figure import compare_figure
    from attention_atlas.analysis.figures import save_figure

    save_figure(compare_figure(comparison), path)


def _print_groups(comparison: "Comparison") -> None:
    from attention_atlas.analysis.comparison.markdown import IN_BRACKETS

    for index, (task, data) in enumerate(comparison.tasks):
        print("\n" * bool(index) + f"{task}, {data}")
        _print_task(comparison, task, data)
    print()
    print_prose(
        f"{IN_BRACKETS} * is the best, and what ties with it: the interval of the difference "
        "includes 0."
    )
    for note in comparison.notes:
        print_prose(f"- {note}")


def _print_task(comparison: "Comparison", task: str, data: str) -> None:
    """Print groups by quantities, and attribution methods by groups."""
    from attention_atlas.analysis.comparison.markdown import (
        DEFAULT_METRIC,
        default_quantities,
        quantities_by_metric,
    )
    from attention_atlas.analysis.comparison.metrics import metric_title

    groups = comparison.of_task(task, data)
    found = quantities_by_metric(groups, default_quantities(comparison))
    of_runs, of_methods = found.get("", []), found.get(DEFAULT_METRIC, [])
    columns = [_cells(comparison, groups, quantity) for quantity in of_runs]
    rows = [
        [group.label, str(group.num_runs), *(column[row] for column in columns)]
        for row, group in enumerate(groups)
    ]
    headings = ["attention", "runs", *(quantity.heading for quantity in of_runs)]
    print_table(headings, rows, ("runs",), in_pieces=True)
    if of_methods:
        better = f"({of_methods[0].better} is better)"
        print(f"\n{metric_title(DEFAULT_METRIC).capitalize()} {better}:")
        labels = [group.label for group in groups]
        if fixed_width() is not None and max(map(len, labels)) > MAX_HEADING:
            for number, label in enumerate(labels, start=1):
                print_prose(f"({number}) {label}")
            labels = [f"({number})" for number, _ in enumerate(labels, start=1)]
        rows = [[q.name.split(".")[1], *_cells(comparison, groups, q)] for q in of_methods]
        print_table(["method", *labels], rows, in_pieces=True)


def _cells(comparison: "Comparison", groups: "list[Group]", quantity: "Quantity") -> list[str]:
    """Format a quantity of each group, with a mark at the best."""
    from attention_atlas.analysis.comparison.markdown import format_interval

    name = quantity.name
    best = comparison.best(groups[0].task, groups[0].data, name)
    return [
        format_interval(group.intervals[name], quantity) + " *" * (group.label in best)
        if name in group.intervals
        else "-"
        for group in groups
    ]


def _print_samples(first: str, second: str, result: "SampleComparison") -> None:
    from attention_atlas.analysis.comparison import describe_quantity
    from attention_atlas.analysis.comparison.markdown import format_interval

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
        (
            "accuracy (% points)",
            format_interval(result.accuracy_difference, describe_quantity("accuracy")),
        ),
        ("p-value of the change", f"{format_p_value(result.p_value)} (McNemar)"),
        (
            "divergence of readouts",
            "-" if result.readout is None else f"{result.readout:z.3f} bits",
        ),
    ]
    for layer, divergence in enumerate(result.layers):
        name = f"divergence of layer {layer}"
        facts.append((name, f"{divergence:z.3f} bits (mean of {result.num_mapped} samples)"))
    print_facts(facts)
    known = result.most_different(MAX_SAMPLES)
    different = [each for each in known if (each.divergence or 0) >= MIN_DIVERGENCE]
    if different:
        print("\nMost different:")
        rows: list[list[Any]] = [
            [each.sample_id, each.label, each.first, each.second, f"{each.divergence:.3f}"]
            for each in different
        ]
        headings = ["sample", "label", "first", "second", "divergence (bits)"]
        print_table(headings, rows, ("divergence (bits)",))
    elif known:
        print()
        print_prose(f"No sample differs by {MIN_DIVERGENCE} bits or more.")
    for note in result.notes:
        print_prose(f"- {note}")
