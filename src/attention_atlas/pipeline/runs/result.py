"""The result of a run: its description, and the closing tables of the commands."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.table import Table

from attention_atlas.attention_options import describe_mechanism
from attention_atlas.console import make_console
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.run_folder import ATLAS_FOLDER

if TYPE_CHECKING:
    from attention_atlas.tasks import ClassificationTask

LIBRARIES = ("torch", "torchvision", "torchaudio", "lightning", "hydra-core", "attention-atlas")


def describe_run(
    config: DictConfig, task: "ClassificationTask", datamodule: AtlasDataModule
) -> dict[str, Any]:
    """Return choices, sizes and library versions of a finished run, as plain values."""
    sizes = {split: len(dataset) for split, dataset in datamodule.datasets.items()}
    return {
        "task": config.task.name,
        "data": config.data.name,
        "attention": describe_mechanism(config.attention),
        "encoder": config.encoder.name,
        "seed": config.seed,
        "num_parameters": task.num_parameters,
        "num_train_samples": sizes["train"],
        "num_val_samples": sizes["val"],
        "num_test_samples": sizes["test"],
        "versions": {name: version(name) for name in LIBRARIES},
    }


def print_summary(result: Mapping[str, Any], folder: Path) -> None:
    """Print accuracy, cost, the run folder and the next command; the baseline may be unknown."""
    console = make_console(soft_wrap=True)
    baseline = result["baseline"]
    title = f"{result['task']} on {result['data']}"
    console.print(accuracy_table(result, ("val", "test"), title, baseline))
    if baseline is None:
        console.print(
            "baseline: not measured on this data; atlas baseline with the same task and data "
            "measures it"
        )
    console.print(
        f"{result['num_parameters']:,} parameters, "
        f"{result['train_seconds']:.0f} s of training, {result['cpu_seconds']:.0f} CPU s in all"
    )
    console.print(f"run folder: {folder}")
    show = f"atlas show {folder}    " if (folder / ATLAS_FOLDER).is_dir() else ""
    console.print(f"next: {show}atlas evaluate run={folder}")


def print_evaluation(result: Mapping[str, Any], folder: Path) -> None:
    """Print the accuracy of an evaluation, its folder and the next command."""
    console = make_console(soft_wrap=True)
    title = f"{result['task']} on {result['data']}, {result['split']} split"
    console.print(accuracy_table(result, (result["split"],), title))
    console.print(f"evaluation folder: {folder}")
    if (folder / ATLAS_FOLDER).is_dir():
        console.print(f"next: atlas show {folder}")


def accuracy_table(
    result: Mapping[str, Any],
    splits: tuple[str, ...],
    title: str,
    baseline: Mapping[str, Any] | None = None,
) -> Table:
    """Return accuracy by split and group in percent, beside that of the baseline."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    if baseline is not None:
        table.add_column(str(baseline["model"]), justify="right")
    for split in splits:
        prefix = f"{split}/accuracy"
        for name in result:
            if name == prefix or name.startswith(f"{prefix}/"):
                label = name.removeprefix(prefix).lstrip("/") or split
                row = [_percent(result.get(name))]
                if baseline is not None:
                    row.append(_percent(baseline.get(name)))
                table.add_row(label, *row)
    return table


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f} %"
