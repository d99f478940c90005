"""The result of a run: its description, and the closing tables of the commands."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from attention_atlas.analysis.confusion import confusion_of, majority_rate
from attention_atlas.attention_options import describe_mechanism
from attention_atlas.console import make_console, one_line, print_line
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.listing import describe_not_read
from attention_atlas.errors import InputError, first_names
from attention_atlas.run_folder import ATLAS_FOLDER

if TYPE_CHECKING:
    from attention_atlas.tasks import ClassificationTask

FEW_SAMPLES = 10  # of a class in training, below which a line says so
MAX_NAMED = 5
MAX_GROUPS = 30  # that a table has a row for

LIBRARIES = ("torch", "torchvision", "torchaudio", "lightning", "hydra-core", "attention-atlas")


def describe_run(
    config: DictConfig, task: "ClassificationTask", datamodule: AtlasDataModule
) -> dict[str, Any]:
    """Return choices, sizes and library versions of a finished run, as plain values."""
    sizes = {split: len(data) for split, data in datamodule.datasets.items()}
    return {
        "task": config.task.name,
        "data": config.data.name,
        "attention": describe_mechanism(config.attention),
        "encoder": config.encoder.name,
        "seed": config.seed,
        "num_parameters": task.num_parameters,
        **{f"num_{split}_samples": sizes.get(split, 0) for split in ("train", "val", "test")},
        "files_not_read": len(datamodule.not_read),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def print_notes(datamodule: AtlasDataModule) -> None:
    """Print what a user should know about the data, a line each."""
    if datamodule.not_read:
        print_line(describe_not_read(datamodule.not_read))
    for note in [*datamodule.notes, *_rare_classes(datamodule)]:
        print_line(note)


def _rare_classes(datamodule: AtlasDataModule) -> list[str]:
    """Name the classes with few samples in training."""
    dataset = datamodule.datasets.get("train")
    if dataset is None:
        return []
    counts = Counter(dataset.labels)
    rare = [
        f"{name} ({counts[index]})"
        for index, name in enumerate(datamodule.classes)
        if counts[index] < FEW_SAMPLES
    ]
    listed = first_names(rare, MAX_NAMED)
    return [f"classes with fewer than {FEW_SAMPLES} training samples: {listed}"] if rare else []


def print_summary(result: Mapping[str, Any], folder: Path) -> None:
    """Print accuracy, cost, the run folder and the next command; the baseline may be unknown."""
    console = make_console(soft_wrap=True)
    baseline = result["baseline"]
    title = f"{result['task']} on {result['data']}"
    console.print(accuracy_table(result, ("val", "test"), title, baseline))
    if (tested := num_tested(result)) < result["num_test_samples"]:
        console.print(f"tested on {tested:,} of {result['num_test_samples']:,} samples")
    elif baseline is None:
        console.print(
            "baseline: not measured on this data; atlas baseline with the same task, data and "
            "augmentation measures it"
        )
    console.print(
        f"{result['num_parameters']:,} parameters, "
        f"{result['train_seconds']:.0f} s of training, {result['cpu_seconds']:.0f} CPU s in all"
    )
    console.print(f"run folder: {folder}")
    shows = [f"atlas show {folder}"] if (folder / ATLAS_FOLDER).is_dir() else []
    console.print("next: " + "\n      ".join([*shows, f"atlas evaluate run={folder}"]))


def print_evaluation(result: Mapping[str, Any], folder: Path) -> None:
    """Print the accuracy of an evaluation, its folder and the next command."""
    console = make_console(soft_wrap=True)
    tested, number = num_tested(result), result[f"num_{result['split']}_samples"]
    samples = f"{number:,} samples" if tested == number else f"{tested:,} of {number:,} samples"
    title = f"{result['task']} on {result['data']}, {result['split']} split: {samples}"
    console.print(accuracy_table(result, (result["split"],), title))
    console.print(f"evaluation folder: {folder}")
    if (folder / ATLAS_FOLDER).is_dir():
        console.print(f"next: atlas show {folder}")


def num_tested(result: Mapping[str, Any]) -> int:
    """Return how many samples were tested, which limits of the trainer may make fewer than all."""
    return int(confusion_of(result).counts.sum())


def accuracy_table(
    result: Mapping[str, Any],
    splits: tuple[str, ...],
    title: str,
    baseline: Mapping[str, Any] | None = None,
) -> Table:
    """Return accuracy and macro-F1 by split and group in percent, beside those of the baseline.

    A row has the accuracy of predicting the most frequent class of the tested split always.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    table.add_column("macro-F1", justify="right")
    if baseline is not None:
        table.add_column(str(baseline["model"]), justify="right")
    for split in splits:
        prefix = f"{split}/accuracy"
        named = [name for name in result if name.startswith(f"{prefix}/")]
        groups = {name.removeprefix(f"{prefix}/"): name for name in named}
        rows = {split: prefix} if prefix in result else {}
        for label, name in (rows | _some(groups, result)).items():
            f1 = result.get(f"{split}/macro_f1") if name == prefix else None
            row = [_percent(result.get(name)), _percent(f1)]
            if baseline is not None:
                row.append(_percent(baseline.get(name)))
            table.add_row(Text(one_line(label)), *row)
    with suppress(InputError):  # without a test
        table.add_row("most frequent class", _percent(majority_rate(confusion_of(result))))
    return table


def _some(groups: Mapping[str, str], result: Mapping[str, Any]) -> dict[str, str]:
    """Return the key of each group by its label; of many, of the best, median and worst."""
    if len(groups) <= MAX_GROUPS:
        return dict(groups)
    order = sorted(groups, key=lambda group: (-result[groups[group]], group))
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    return {
        f"{rank} of {len(groups):,} groups, {group}": groups[group]
        for rank, group in chosen.items()
    }


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f} %"
