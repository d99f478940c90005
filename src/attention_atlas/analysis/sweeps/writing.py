"""Write a sweep as a CSV table, as JSON and as a figure."""

import csv
from pathlib import Path
from typing import Any

from attention_atlas.analysis.sweeps.sweep import Sweep, read_sweep
from attention_atlas.analysis.sweeps.trial import SEED, Trial
from attention_atlas.output_files import draft, write_json

CSV_FILE, JSON_FILE, FIGURE_FILE = "sweep.csv", "sweep.json", "sweep.png"


def write_sweep(folder: Path, metric: str | None = None) -> Sweep:
    """Write `sweep.csv`, `sweep.json` and `sweep.png` into the folder of a sweep.

    There is no figure before a trial has a value. The metric is that of `read_sweep`.

    Raises:
        InputError: The folder is not that of a sweep, or a file cannot be written.
    """
    from attention_atlas.analysis.figures import save_figure
    from attention_atlas.analysis.sweeps.figure import sweep_figure

    sweep = read_sweep(folder, metric)
    write_csv(sweep, folder / CSV_FILE)
    write_json(folder / JSON_FILE, describe_sweep(sweep))
    if sweep.best is None:
        (folder / FIGURE_FILE).unlink(missing_ok=True)
    else:
        save_figure(sweep_figure(sweep), folder / FIGURE_FILE)
    return sweep


def write_csv(sweep: Sweep, path: Path) -> None:
    """Write a row for each trial, ranked; missing values are empty cells."""
    parameters = [name for name in sweep.parameters if name != SEED]
    names = ["rank", "name", "state", sweep.metric.name, "seed", "cpu_seconds", *parameters]
    if sweep.metric.name == "cpu_seconds":
        names.remove("cpu_seconds")
    with (
        draft(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8", errors="replace") as file,
    ):
        writer = csv.DictWriter(file, [*names, "failure"], extrasaction="ignore")
        writer.writeheader()
        for rank, trial in enumerate(sweep.trials, start=1):
            described = _describe(trial, rank, sweep)
            writer.writerow(described | described["parameters"] | {sweep.metric.name: trial.value})


def describe_sweep(sweep: Sweep) -> dict[str, Any]:
    """Return a sweep as plain JSON values; missing ones are None."""
    settings, importance = sweep.settings, sweep.importance
    content: dict[str, Any] = {
        "sweep": sweep.folder.absolute().name,
        "metric": sweep.metric.name,
        "higher_is_better": sweep.metric.higher_is_better,
        "parameters": sweep.parameters,
        "trials": [_describe(trial, rank, sweep) for rank, trial in enumerate(sweep.trials, 1)],
        "settings": None if settings is None else [vars(setting) for setting in settings],
        "spread_of_seeds": sweep.spread_of_seeds,
        "importance": None,
        "why_no_importance": None,
    }
    if isinstance(importance, str):
        content["why_no_importance"] = importance
    else:
        content["importance"] = {
            "shares": importance.fractions,
            "r2": importance.r2,
            "num_trials": importance.num_trials,
        }
    return content


def _describe(trial: Trial, rank: int, sweep: Sweep) -> dict[str, Any]:
    return {
        "rank": rank if rank <= len(sweep.ranked) else None,
        "name": trial.name,
        "state": trial.state.value,
        "value": trial.value,
        "parameters": trial.parameters,
        "seed": trial.seed,
        "cpu_seconds": trial.cpu_seconds,
        "failure": trial.failure,
    }
