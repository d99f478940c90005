"""What the trials of a sweep are ranked by, and which way is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_atlas.analysis.sweeps.jobs import Job
from attention_atlas.errors import InputError
from attention_atlas.run_folder import CONFIG, read_yaml

DEFAULT = "val/accuracy"
SHARES = ("accuracy", "macro_f1", "calibration_error")  # shown in percent
LARGEST = 10**300
MORE = ("accuracy", "macro_f1")
LESS = ("loss", "calibration_error", "cpu_seconds", "train_seconds", "num_parameters")


@dataclass(frozen=True)
class Metric:
    """A number of `result.json`.

    Attributes:
        name: Such as `val/accuracy` or `cpu_seconds`.
        higher_is_better: Else lower is.
    """

    name: str
    higher_is_better: bool

    @property
    def is_share(self) -> bool:
        """Whether it is a part of 1, which is shown in percent."""
        return any(part in SHARES for part in self.name.split("/"))

    @property
    def title(self) -> str:
        """Its name with its unit."""
        return f"{self.name} (%)" if self.is_share else self.name

    @property
    def better(self) -> str:
        """Which way is better, in a word."""
        return "higher" if self.higher_is_better else "lower"

    def key(self, value: float) -> float:
        """Return what values are sorted by, the best first."""
        return -value if self.higher_is_better else value

    def in_words(self, value: float | None) -> str:
        """Return a value as it is shown below the title."""
        if value is None:
            return "-"
        if self.is_share:
            return f"{100 * value:z.2f}"
        if isinstance(value, int) or abs(value) >= 1000:
            return f"{value:.0f}"
        return f"{value:z.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2e}"


def higher_is_better(name: str) -> bool | None:
    """Say by the last known part of its name which way a metric is better; None if none is known.

    So `test/accuracy/imdb`, which is the accuracy on a part of the samples, is one of accuracy.
    """
    for part in reversed(name.split("/")):
        if part in MORE or part in LESS:
            return part in MORE
    return None


def numbers_of(result: dict[str, Any]) -> dict[str, float]:
    """Return the numbers in a result by their names; whole ones that no float can hold are none."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, float)
        or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST)
    }


def choose_metric(folder: Path, jobs: Sequence[Job], given: str | None) -> Metric:
    """Return the metric that was asked for, or else that of the config of the jobs.

    Raises:
        InputError: If no job has such a number, or it is not known which way it is better.
    """
    monitored = _monitored(jobs)
    name = given or monitored.get("metric") or DEFAULT
    there = list(dict.fromkeys(key for job in jobs for key in numbers_of(job.result)))
    ranked_by = [key for key in there if higher_is_better(key) is not None]
    take = f"take one of {', '.join(ranked_by or (*MORE, *LESS))}."
    if there and name not in there:
        raise InputError(f"No trial of {folder} has the number {name!r}: {take}")
    better = higher_is_better(name)
    if better is None and name == monitored.get("monitor"):
        better = {"max": True, "min": False}.get(str(monitored.get("mode")))
    if better is None:
        raise InputError(f"Whether more or less of {name!r} is better is not known: {take}")
    return Metric(name, better)


def _monitored(jobs: Sequence[Job]) -> dict[str, str]:
    """Return `metric`, and `monitor` and `mode` of checkpoints, of the first config that can tell.

    All jobs of a sweep are ranked by the same metric, and reading a config takes its time.
    """
    from omegaconf import OmegaConf

    for job in jobs:
        try:
            config = read_yaml(job.folder, CONFIG)
            checkpoint = OmegaConf.select(config, "callbacks.checkpoint") or {}
            metric = OmegaConf.select(config, "sweep.metric") or checkpoint.get("monitor")
            known = {
                "metric": metric,
                "monitor": checkpoint.get("monitor"),
                "mode": checkpoint.get("mode"),
            }
        except Exception:  # of a file that is not there, of the YAML, of what it refers to
            continue
        if isinstance(metric, str):
            return {name: value for name, value in known.items() if isinstance(value, str)}
    return {}
