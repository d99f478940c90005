"""`atlas faithfulness`: whether attributions reflect what the model used."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.cli.console import print_json, print_prose, progress_bar
from attention_atlas.cli.options import AsJson, complete_run
from attention_atlas.cli.runs import local_run
from attention_atlas.errors import InputError
from attention_atlas.run_folder import FAITHFULNESS, read_json

if TYPE_CHECKING:
    from attention_atlas.analysis.faithfulness import Faithfulness

NUM_SAMPLES, STEPS, SEED = 100, 10, 0  # defaults
MARKS = {True: " +", False: " -", None: "  "}
DIRECTIONS = {True: "higher is better", False: "lower is better"}


def faithfulness(
    run: Annotated[
        str,
        typer.Argument(help="Run folder.", show_default=False, autocompletion=complete_run),
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
        int | None, typer.Option(min=1, help=f"Of deletion and insertion; {STEPS} without it.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help=f"Of all that is random; {SEED} without it.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure again what was measured before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure how faithful attributions are to the model.

    Each is compared with random ones. Writes faithfulness.json, .csv and .png into the run folder.
    An existing measurement is shown instead, unless --again is set.
    """
    folder = local_run(run)
    names = None if methods is None else [name.strip() for name in methods.split(",")]
    content = {} if again else _read(folder)
    measured = _faithfulness(content)
    is_new = measured is None
    if measured is None:
        from attention_atlas.output_files import check_output

        check_output(folder / FAITHFULNESS, (".json",))
        from attention_atlas.pipeline.faithfulness import measure_run

        with progress_bar("samples") as progress:
            measured = measure_run(
                folder,
                names,
                num_samples or NUM_SAMPLES,
                removal,
                steps or STEPS,
                SEED if seed is None else seed,
                progress,
            )
    else:
        # A small test set has fewer samples than were asked for.
        asked_for = content.get("num_samples_asked_for", len(measured.sample_ids))
        options = {
            "num-samples": (num_samples, asked_for),
            "removal": (removal, measured.removal),
            "steps": (steps, measured.steps),
            "seed": (seed, measured.seed),
        }
        _check_same(folder / FAITHFULNESS, measured, names, options)
    if as_json:
        print_json(measured.to_json())
        return
    _print(measured, names)
    if is_new:
        print(f"\nSaved {folder / FAITHFULNESS}, and the same as .csv and .png")
    else:
        print(f"\nRead from {folder / FAITHFULNESS}; --again measures it again")


def _read(folder: Path) -> dict[str, Any]:
    """Return the content of an earlier measurement; empty if there is none, or it is damaged."""
    try:
        return read_json(folder, FAITHFULNESS) or {}
    except InputError:
        return {}


def _faithfulness(content: dict[str, Any]) -> "Faithfulness | None":
    from attention_atlas.analysis.faithfulness import Faithfulness

    try:
        return Faithfulness.from_json(content)
    except InputError:
        return None  # of another version: measured again


def _check_same(
    path: Path,
    measured: "Faithfulness",
    methods: list[str] | None,
    options: dict[str, tuple[Any, Any]],
) -> None:
    """Check that a measurement has the options that the user gave.

    Raises:
        InputError: If it differs: it took long, and is only replaced on request.
    """
    differences = [
        f"--{name} {stored}, not {wanted}"
        for name, (wanted, stored) in options.items()
        if wanted not in (None, stored)
    ]
    missing = set(methods or ()) - {*measured.methods, *measured.refused}
    if missing:
        differences.append(f"no {', '.join(sorted(missing))}")
    if differences:
        raise InputError(
            f"{path} holds another measurement ({'; '.join(differences)}). Add --again to measure "
            "again and replace it, or leave these options out to see it."
        )


def _print(measured: "Faithfulness", methods: list[str] | None) -> None:
    from attention_atlas.analysis.faithfulness import METRICS
    from attention_atlas.analysis.faithfulness.result import BASELINE, JUDGED, verdict
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
        rows.append([f"{method} ({count} samples)" if is_part else method, *cells])
    print_table(["method", *headings], rows, in_pieces=True)
    print()
    for higher, words in DIRECTIONS.items():
        titles = [METRICS[n].title for n in metrics if METRICS[n].higher_is_better is higher]
        if titles:
            print_prose(f"{words.capitalize()}: {', '.join(titles)}.")
    print_prose(
        f"Means of {len(measured.sample_ids)} samples with their 95 % interval; + better, - worse "
        f"than random. Removed tokens: {measured.removal_description.rstrip('.')}."
    )
    for note in measured.notes:
        print_prose(note)
    print()
    print_prose(verdict(measured))
