"""The metric that trials are ranked by, and which direction is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_atlas.analysis.sweeps.trial import Trial
from attention_atlas.errors import InputError
from attention_atlas.run_folder import CONFIG, read_yaml

DEFAULT = "val/accuracy"
FRACTIONS = ("accuracy", "macro_f1", "calibration_error")  # shown in percent
HIGHER = ("accuracy", "macro_f1")
LOWER = ("loss", "calibration_error", "cpu_seconds", "train_seconds", "num_parameters")


@dataclass(frozen=True)
class Metric:
    """A number of `result.json`.

    Attributes:
        name: Its key, such as `val/accuracy` or `cpu_seconds`.
        higher_is_better: Whether higher values are better; else lower ones are.
    """

    name: str
    higher_is_better: bool

    @property
    def is_fraction(self) -> bool:
        """Whether it lies between 0 and 1 and is shown in percent."""
        return any(part in FRACTIONS for part in self.name.split("/"))

    @property
    def title(self) -> str:
        """Its name with its unit."""
        return f"{self.name} (%)" if self.is_fraction else self.name

    @property
    def better(self) -> str:
        """The word for the better direction."""
        return "higher" if self.higher_is_better else "lower"

    def sort_key(self, value: float) -> float:
        """Return the key that sorts the best value first."""
        return -value if self.higher_is_better else value

    def format(self, value: float | None) -> str:
        """Format a value as it is shown below the title."""
        if value is None:
            return "-"
        if self.is_fraction:
            return f"{100 * value:z.2f}"
        if isinstance(value, int) or abs(value) >= 1000:
            return f"{value:.0f}"
        return f"{value:z.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2e}"


def higher_is_better(name: str) -> bool | None:
    """Return the better direction of a metric by the last known part of its name, None if unknown.

    For example, `test/accuracy/imdb`, the accuracy on a part of the samples, is an accuracy.
    """
    for part in reversed(name.split("/")):
        if part in HIGHER or part in LOWER:
            return part in HIGHER
    return None


def choose_metric(folder: Path, trials: Sequence[Trial], requested: str | None) -> Metric:
    """Return the requested metric, or else that of the config of the jobs.

    Raises:
        InputError: No job has such a number, or its better direction is unknown.
    """
    monitored = _monitored(trials)
    name = requested or monitored.get("metric") or DEFAULT
    known = list(dict.fromkeys(key for trial in trials for key in trial.numbers))
    ranked_by = [key for key in known if higher_is_better(key) is not None]
    take = f"take one of {', '.join(ranked_by or (*HIGHER, *LOWER))}."
    if known and name not in known:
        raise InputError(f"No trial of {folder} has the number {name!r}: {take}")
    better = higher_is_better(name)
    if better is None and name == monitored.get("monitor"):
        better = {"max": True, "min": False}.get(str(monitored.get("mode")))
    if better is None:
        raise InputError(f"Whether more or less of {name!r} is better is not known: {take}")
    return Metric(name, better)


def _monitored(trials: Sequence[Trial]) -> dict[str, str]:
    """Return `metric`, and `monitor` and `mode` of the checkpoints, from the first readable config.

    All jobs of a sweep are ranked by the same metric, and reading a config is slow.
    """
    from omegaconf import OmegaConf

    for trial in trials:
        try:
            config = read_yaml(trial.folder, CONFIG)
            checkpoint = OmegaConf.select(config, "callbacks.checkpoint") or {}
            metric = OmegaConf.select(config, "sweep.metric") or checkpoint.get("monitor")
            found = {"metric": metric, **{key: checkpoint.get(key) for key in ("monitor", "mode")}}
        except Exception:  # a missing file, damaged YAML, a reference that cannot be resolved
            continue
        if isinstance(metric, str):
            return {name: value for name, value in found.items() if isinstance(value, str)}
    return {}
