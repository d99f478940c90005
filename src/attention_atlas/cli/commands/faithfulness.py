"""`atlas faithfulness`: whether attributions reflect what the model used."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.cli.options import AsJson, complete_run
from attention_atlas.cli.runs import known_faithfulness, local_run
from attention_atlas.console import print_json, print_prose, progress_bar
from attention_atlas.errors import InputError, counted
from attention_atlas.run_folder import FAITHFULNESS, read_json

if TYPE_CHECKING:
    from attention_atlas.analysis.faithfulness import Faithfulness

NUM_SAMPLES, STEPS, SEED = 100, 10, 0
DEFAULTS = {"num_samples": NUM_SAMPLES, "removal": None, "steps": STEPS, "seed": SEED}
MARKS = {True: " +", False: " -", None: "  "}
DIRECTIONS = {True: "higher is better", False: "lower is better"}


def faithfulness(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run folder; several that differ in the seed alone, for an interval over "
            "trainings.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ],
    methods: Annotated[
        str | None,
        typer.Option(help="Attributions, such as readout,rollout,raw:0; without it all."),
    ] = None,
    num_samples: Annotated[
        int | None, typer.Option(min=1, help=f"Test samples; {NUM_SAMPLES} without it.")
    ] = None,
    removal: Annotated[
        str | None,
        typer.Option(
            help="What replaces a removed token: mask or pad (text), blur or mean "
            "(image), mean or silence (sound); without it the first of these."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help=f"Steps of deletion and insertion; default {STEPS}.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help=f"Seed of all that is drawn; default {SEED}."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure again what was measured before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure how faithful attributions are to the model.

    Each is compared with random ones. Writes faithfulness.json, .csv and .png into the run folder.
    An existing measurement is shown instead, unless --again is set. An interval over the samples of
    one model says nothing about the next training: give three runs or more for one over trainings.
    """
    folders = [local_run(run) for run in runs]
    if len(folders) > 1:
        _check_trainings(folders)
    names = None if methods is None else [name.strip() for name in methods.split(",")]
    wanted = {"num_samples": num_samples, "removal": removal, "steps": steps, "seed": seed}
    found = [_measured(folder, names, wanted, again) for folder in folders]
    if as_json:
        content = [measured.to_json() for measured, _ in found]
        print_json(content if len(content) > 1 else content[0])
    elif len(found) == 1:
        ((measured, end),) = found
        _print(measured, names)
        print(f"\n{end}")
    else:
        _print_trainings([measured for measured, _ in found], folders)


def _check_trainings(folders: list[Path]) -> None:
    """Check that runs differ in their seeds alone."""
    from attention_atlas.analysis.comparison import compare_runs

    groups = compare_runs(folders).groups
    if len(groups) > 1:
        labels = "; ".join(f"{group.task} on {group.data}, {group.label}" for group in groups)
        raise InputError(
            f"These runs are not trainings of one recipe: {labels}. Give runs that differ in the "
            "seed alone, or compare them by `atlas compare`."
        )
    if repeated := groups[0].repeated:
        raise InputError(
            f"{repeated[0].run} has the seed {repeated[0].seed} of another run: give each training "
            "once."
        )


def _measured(
    folder: Path, names: list[str] | None, wanted: Mapping[str, Any], again: bool
) -> tuple["Faithfulness", str]:
    """Return what was measured on a run, and where it is saved; measure it if it is missing."""
    measured = None if again else known_faithfulness(folder)
    if measured is None:
        end = f"Saved {folder / FAITHFULNESS}, and the same as .csv and .png"
        return _measure(folder, names, wanted), end
    _check_same(folder, measured, names, wanted)
    return measured, f"Read from {folder / FAITHFULNESS}; --again measures it again"


def _measure(folder: Path, methods: list[str] | None, options: Mapping[str, Any]) -> "Faithfulness":
    from attention_atlas.output_files import check_output

    check_output(folder / FAITHFULNESS, (".json",))
    from attention_atlas.pipeline.faithfulness import measure_run

    used = DEFAULTS | {name: value for name, value in options.items() if value is not None}
    with progress_bar("samples") as progress:
        return measure_run(folder, methods, **used, progress=progress)


def _check_same(
    folder: Path,
    measured: "Faithfulness",
    methods: list[str] | None,
    wanted: Mapping[str, Any],
) -> None:
    """Check that a measurement has the wanted options: it took long, and is replaced on request."""
    path = folder / FAITHFULNESS
    stored = {
        # A small test set has fewer samples than were asked for.
        "num_samples": (read_json(folder, FAITHFULNESS) or {}).get(
            "num_samples_asked_for", len(measured.sample_ids)
        ),
        "removal": measured.removal,
        "steps": measured.steps,
        "seed": measured.seed,
    }
    differences = [
        f"--{name.replace('_', '-')} {value}, not {wanted[name]}"
        for name, value in stored.items()
        if wanted[name] not in (None, value)
    ]
    missing = set(methods or ()) - {*measured.methods, *measured.refused}
    if missing:
        differences.append(f"no {', '.join(sorted(missing))}")
    if differences:
        raise InputError(
            f"{path} holds another measurement ({'; '.join(differences)}). Add --again to measure "
            "again and replace it, or leave these options out to see it."
        )


def _print_trainings(measured: list["Faithfulness"], folders: list[Path]) -> None:
    from attention_atlas.analysis.faithfulness.trainings import (
        LEGEND,
        trainings_table,
        verdict_over_trainings,
    )
    from attention_atlas.cli.tables import print_table

    for number, folder in enumerate(folders, start=1):
        print_prose(f"({number}) {folder}")
    headings, rows = trainings_table(measured, [f"({n})" for n, _ in enumerate(folders, start=1)])
    print_table(headings, rows, in_pieces=True)
    print()
    print_prose(LEGEND)
    print()
    print_prose(verdict_over_trainings(measured))


def _print(measured: "Faithfulness", methods: list[str] | None) -> None:
    from attention_atlas.analysis.faithfulness import METRICS
    from attention_atlas.analysis.faithfulness.result import BASELINE, verdict
    from attention_atlas.analysis.faithfulness.verdict import JUDGED
    from attention_atlas.cli.tables import print_table

    metrics = [
        name
        for name in METRICS
        if any(name in estimates for estimates in measured.estimates.values())
    ]
    headings = [METRICS[name].title for name in metrics]
    rows = []
    for method, estimates in measured.estimates.items():
        if methods is not None and method not in (*methods, BASELINE):
            continue
        cells = [
            f"{estimates[name]}{MARKS[measured.better_than_random(method, name)]}"
            if name in estimates
            else "-"
            for name in metrics
        ]
        count = estimates[JUDGED].num_samples if JUDGED in estimates else 0
        is_part = 0 < count < len(measured.sample_ids)
        rows.append([f"{method} ({counted(count, 'sample')})" if is_part else method, *cells])
    print_table(["method", *headings], rows, in_pieces=True)
    print()
    for higher, words in DIRECTIONS.items():
        titles = [METRICS[n].title for n in metrics if METRICS[n].higher_is_better is higher]
        if titles:
            print_prose(f"{words.capitalize()}: {', '.join(titles)}.")
    print_prose(
        f"Means of {counted(len(measured.sample_ids), 'sample')} of one model with their 95 % "
        "interval, which says nothing about another training; + better, - worse than random. "
        f"Removed tokens: {measured.removal_description.rstrip('.')}."
    )
    for note in measured.notes:
        print_prose(note)
    print()
    print_prose(verdict(measured))
