"""Collect the finished runs of experiments, and write docs/results.md from them.

python -m benchmarks.experiments outputs/experiments

Reads every run below the folder that was started with `experiment=`, and every evaluation of one,
saves what the page says about them in docs/results.json, and writes the page from that. Without a
folder the page is written again from what was saved. A run that is not of the recipe as it
stands is left out. A run knows its baseline where `baseline.py` was run on the same split before.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf

from attention_atlas.config.compose import compose_config, config_folder, without_hydra
from attention_atlas.config.plain import unresolved
from benchmarks.published import EXPERIMENTS, Experiment

REPOSITORY = Path(__file__).resolve().parents[1]
KEPT = REPOSITORY / "docs" / "results.json"
PAGE = REPOSITORY / "docs" / "results.md"
START, END = "<!-- tables -->\n", "<!-- end of tables -->\n"

OF_A_RUN = ("seed", "data", "num_parameters", "cpu_seconds", "val/accuracy", "test/accuracy")
OF_A_RUN += ("num_train_samples", "num_val_samples", "num_test_samples")

NAMES = {experiment.name for experiment in EXPERIMENTS}

LEFT_TO_THE_USER = ("seed", "data.path", "resume")
LEFT_TO_THE_USER += ("trainer.accelerator", "trainer.devices", "trainer.strategy")
LEFT_TO_THE_USER += ("trainer.sync_batchnorm",)
"""What a run of an experiment may set."""

OF_AN_EVALUATION = {"run", "split", "data", "data.path", "data.labels", "capture"}
"""What `evaluate.py` may be started with."""

Kept = dict[str, dict[str, list[dict[str, Any]]]]


def main() -> None:
    """Read the folders that are named, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    folders = parser.parse_args().folders
    kept: Kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    kept |= collect(*folders)
    KEPT.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    head, tail = prose(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(head + tables(kept) + tail, encoding="utf-8")


def collect(*folders: Path) -> Kept:
    """What the runs and evaluations below some folders came to, by experiment."""
    kept: Kept = {}
    for file in sorted(file for folder in folders for file in folder.rglob("result.json")):
        is_evaluation = file.parent.parent.name == "evaluations"
        run = file.parents[2] if is_evaluation else file.parent
        name = experiment_of(run)
        if name is None:
            continue
        content = json.loads(file.read_text(encoding="utf-8"))
        of_test = "test/accuracy" in content  # an evaluation may be of another split
        if is_evaluation and not (of_test and _set(file.parent) <= OF_AN_EVALUATION):
            continue
        entry = {key: content[key] for key in OF_A_RUN if key in content}
        baseline = content.get("baseline")
        if baseline is not None:
            entry["baseline"] = {key: baseline[key] for key in ("model", "test/accuracy")}
        parts = kept.setdefault(name, {"runs": [], "evaluations": []})
        parts["evaluations" if is_evaluation else "runs"].append(entry)
    return {
        name: {part: _one_per_seed(entries) for part, entries in parts.items()}
        for name, parts in kept.items()
    }


def _one_per_seed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last of each seed and data set, by seed."""
    last = {(entry["seed"], entry["data"]): entry for entry in entries}
    return [last[key] for key in sorted(last)]


def experiment_of(run: Path) -> str | None:
    """The option of the group `experiment` whose recipe, as it stands, a run followed.

    None of a run without one, a debug run, and one of another recipe: a trial, or an earlier one.
    """
    path = run / ".hydra" / "hydra.yaml"
    if not path.is_file():
        return None
    choices = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["runtime"]["choices"]
    name = choices.get("experiment")
    if name not in NAMES or choices.get("debug") is not None:
        return None
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    assert isinstance(config, DictConfig)
    return str(name) if _recipe(config) == _recipe(recipe_of(name)) else None


def recipe_of(experiment: str) -> DictConfig:
    """The config of an experiment as it stands."""
    with config_folder(REPOSITORY / "conf"):
        return without_hydra(compose_config("train", [f"experiment={experiment}"]))


def _recipe(config: DictConfig) -> dict[Any, Any]:
    """What of a config is not left to the user."""
    config = config.copy()
    for key in LEFT_TO_THE_USER:
        OmegaConf.update(config, key, None, force_add=True)
    return unresolved(config)


def _set(evaluation: Path) -> set[str]:
    """What was set on the command line of an evaluation."""
    path = evaluation / ".hydra" / "overrides.yaml"
    overrides = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {override.partition("=")[0].lstrip("+") for override in overrides}


def prose(page: str) -> tuple[str, str]:
    """What stands before and behind the tables, with their marks."""
    before, start, rest = page.partition(START)
    _, end, behind = rest.partition(END)
    return before + start, end + behind


def tables(kept: Kept) -> str:
    """The table of all experiments, and below it where its figures come from."""
    lines = [
        "| experiment | test accuracy, median (each seed) | validation, the same "
        "| classical baseline | published | parameters | CPU minutes a run |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for experiment in EXPERIMENTS:
        lines.append(f"| {' | '.join(_row(experiment, kept.get(experiment.name, {})))} |")
    sources = [
        f"- `{experiment.name}`: {experiment.source}"
        for experiment in EXPERIMENTS
        if experiment.source
    ]
    return "\n".join([*lines, "", "Sources of what is published:", "", *sources, ""])


def _row(experiment: Experiment, parts: dict[str, list[dict[str, Any]]]) -> list[str]:
    entries = _entries(experiment, parts)
    row = [f"`{experiment.name}`{experiment.remark}"]
    if not entries:
        return [*row, "not run in full", "", "", experiment.published, "", ""]
    runs = parts["runs"] or entries
    return [
        *row,
        _accuracies(entries, "test/accuracy"),
        "" if experiment.evaluated_on else _accuracies(entries, "val/accuracy"),
        _baseline([entry["baseline"] for entry in entries if "baseline" in entry]),
        experiment.published,
        f"{runs[0]['num_parameters']:,}",
        f"{statistics.median(run['cpu_seconds'] for run in runs) / 60:.0f}",
    ]


def _entries(
    experiment: Experiment, parts: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """What the row is of: the runs, or their evaluations on other data."""
    if experiment.evaluated_on is None:
        return parts.get("runs", [])
    evaluations = parts.get("evaluations", [])
    return [entry for entry in evaluations if entry["data"] == experiment.evaluated_on]


def _accuracies(entries: Sequence[dict[str, Any]], key: str) -> str:
    each = [f"{100 * entry[key]:.1f}" for entry in entries]
    median = f"{100 * statistics.median(entry[key] for entry in entries):.1f} %"
    return median if len(set(each)) == 1 else f"{median} ({', '.join(each)})"


def _baseline(baselines: Sequence[dict[str, Any]]) -> str:
    if not baselines:
        return "not measured"
    return f"{_accuracies(baselines, 'test/accuracy')}, {baselines[0]['model']}"


if __name__ == "__main__":
    main()
