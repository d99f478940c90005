"""Read the numbers of a finished run: its result, head statistics and faithfulness."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attention_atlas.analysis.comparison.metrics import (
    FAITHFULNESS_PREFIX,
    HEADS,
    OVER_RANDOM,
    READOUT,
)
from attention_atlas.analysis.faithfulness import Faithfulness, read_faithfulness
from attention_atlas.analysis.faithfulness.result import BASELINE
from attention_atlas.analysis.heads import head_statistics
from attention_atlas.analysis.intervals import Interval, of_accuracy
from attention_atlas.atlas import Atlas, find_atlas, open_atlas
from attention_atlas.atlas.locations import Location
from attention_atlas.atlas.schema import plain_json
from attention_atlas.console import one_line
from attention_atlas.errors import InputError
from attention_atlas.run_folder import number_in, read_result

# Keys of where a run lies and what it saves, not of what is trained and how. Options take their
# values from a recipe, and are compared themselves.
NOT_COMPARED = {
    "seed",
    "run_folder",
    "dirpath",
    "capture",
    "logger",
    "num_threads",
    "hydra",
    "recipe",
}
_COSTS = ("cpu_seconds", "train_seconds", "num_parameters")


@dataclass(frozen=True)
class ComparedRun:
    """The numbers of one run.

    Attributes:
        run: Its folder, a path or a URL.
        task: Name of the task, such as `nlp`.
        data: Name of the data set.
        mechanism: Description of the attention mechanism, such as `cosine, rotary`.
        encoder: Name of the size of the encoder.
        seed: Seed of the training; None if unknown.
        split: Split that the accuracy is measured on.
        num_samples: Number of samples in that split.
        values: Quantities of the run by name (see `Quantity`).
        intervals: Intervals over samples, of the quantities that have one.
        settings: Options that faithfulness was measured with; None if it was not measured.
        by_sample: The value of each tested sample by its id, of the quantities that are means over
            samples: `accuracy` (1 if it is predicted right) and faithfulness.
        options: Options of the config that are on, by dotted name, without seed and folders; None
            if the run saved no config.
        notes: Sentences on what is missing, and why.
    """

    run: Location
    task: str
    data: str
    mechanism: str
    encoder: str
    seed: int | None
    split: str
    num_samples: int
    values: dict[str, float]
    intervals: dict[str, Interval]
    settings: str | None
    options: dict[str, Any] | None
    by_sample: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_compared_run(run: Location) -> ComparedRun:
    """Read the folder of a run or of an evaluation, which holds a `result.json`.

    Raises:
        InputError: There is no such run, it has no result, or a file in it is damaged.
    """
    result = read_result(run)
    split = one_line(str(result.get("split", "test")))
    costs = {name: number_in(result, name) for name in _COSTS}
    values = {name: value for name, value in costs.items() if value is not None}
    intervals: dict[str, Interval] = {}
    num_samples = int(number_in(result, f"num_{split}_samples") or 0)
    accuracy = number_in(result, f"{split}/accuracy")
    if accuracy is not None:
        values = {"accuracy": accuracy, **values}
        if num_samples > 0 and 0 <= accuracy <= 1:
            intervals["accuracy"] = of_accuracy(accuracy, num_samples)
    notes: list[str] = []
    atlas = _atlas_of(run, notes)
    by_sample: dict[str, dict[str, float]] = {}
    if atlas is not None:
        hits = {each.sample_id: float(each.prediction == each.label) for each in atlas}
        if len(hits) == num_samples:
            by_sample["accuracy"] = hits
        statistics = head_statistics(atlas)
        values |= {f"{HEADS}.{name}": value for name, value in statistics.overall().items()}
        values |= {f"{READOUT}.{n}": value for n, value in statistics.overall_readout().items()}
    faithfulness = read_faithfulness(run)
    if faithfulness is not None:
        measured = _faithfulness_intervals(faithfulness)
        intervals |= measured
        values |= {name: interval.mean for name, interval in measured.items()}
        by_sample |= _faithfulness_by_sample(faithfulness)
    return ComparedRun(
        run=run,
        task=one_line(str(result.get("task", "?"))),
        data=one_line(str(result.get("data", "?"))),
        mechanism=one_line(str(result.get("attention", "?"))),
        encoder=one_line(str(result.get("encoder", "?"))),
        seed=result.get("seed"),
        split=split,
        num_samples=num_samples,
        values=values,
        intervals=intervals,
        settings=None if faithfulness is None else faithfulness.settings,
        options=_options_of(run, atlas),
        by_sample=by_sample,
        notes=notes,
    )


def _atlas_of(run: Location, notes: list[str]) -> Atlas | None:
    """Return the atlas of a run; None if it has none, with the reason added to the notes."""
    try:
        find_atlas(run)
    except InputError as error:
        notes.append(str(error))
        return None
    return open_atlas(run)


def _faithfulness_intervals(faithfulness: Faithfulness) -> dict[str, Interval]:
    intervals = {}
    for method, metrics in faithfulness.estimates.items():
        for metric, estimate in metrics.items():
            if metric in OVER_RANDOM:
                if method not in faithfulness.differences:  # random itself
                    continue
                if metric not in faithfulness.differences[method]:
                    continue
                estimate = faithfulness.differences[method][metric]
            name = f"{FAITHFULNESS_PREFIX}.{method}.{metric}"
            intervals[name] = Interval(estimate.mean, estimate.low, estimate.high, 1, "bootstrap")
    return intervals


def _faithfulness_by_sample(faithfulness: Faithfulness) -> dict[str, dict[str, float]]:
    """Return the values of `_faithfulness_intervals` by quantity and sample."""
    found: dict[str, dict[str, float]] = {}
    random = faithfulness.values.get(BASELINE, {})
    for method, metrics in faithfulness.values.items():
        for metric, values in metrics.items():
            over = random.get(metric) if metric in OVER_RANDOM else [0.0] * len(values)
            if over is None or (metric in OVER_RANDOM and method == BASELINE):
                continue
            found[f"{FAITHFULNESS_PREFIX}.{method}.{metric}"] = {
                name: value - other
                for name, value, other in zip(faithfulness.sample_ids, values, over, strict=True)
                if value is not None and other is not None
            }
    return found


def _options_of(run: Location, atlas: Atlas | None) -> dict[str, Any] | None:
    if atlas is not None and atlas.config:
        return _comparable(atlas.config)
    from attention_atlas.run_config import read_config  # OmegaConf, which an atlas does without

    found = read_config(run)
    return None if found is None else _comparable(plain_json(found[1]))


def _comparable(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the options of a config by dotted name, without `NOT_COMPARED` and what is off.

    An option that is false or null counts as missing, so that a config from before the option
    existed equals one that leaves it off.
    """
    options: dict[str, Any] = {}
    for name, value in config.items():
        if name in NOT_COMPARED:
            continue
        if isinstance(value, Mapping):
            options |= _comparable(value, f"{prefix}{name}.")
        elif value is not None and value is not False:
            options[f"{prefix}{name}"] = value
    return options
