"""The numbers that runs are compared by: their names, titles, units, and which way is better."""

from dataclasses import dataclass

from attention_atlas.analysis.faithfulness import METRICS
from attention_atlas.analysis.heads import STATISTICS

HEADS, READOUT, FAITHFULNESS = "heads", "readout", "faithfulness"

OVER_RANDOM = ("comprehensiveness", "sufficiency", "deletion_auc", "insertion_auc")
"""Metrics that runs are compared by less those of random attributions on the same samples.

Some models change their mind whatever is removed; their level says nothing of an attribution.
"""


@dataclass(frozen=True)
class Quantity:
    """What a number of a run is.

    Attributes:
        name: `accuracy`, `cpu_seconds`, `train_seconds`, `num_parameters`, or with its part first:
            `heads.entropy`, `readout.entropy`, `faithfulness.rollout.comprehensiveness`.
        title: For tables and figures.
        unit: `%` where the number is a share that is shown times 100; empty where it has none.
        higher_is_better: None where neither way is.
    """

    name: str
    title: str
    unit: str = ""
    higher_is_better: bool | None = None


_OF_RUNS = {
    "accuracy": Quantity("accuracy", "accuracy", "%", True),
    "cpu_seconds": Quantity("cpu_seconds", "CPU time", "s", False),
    "train_seconds": Quantity("train_seconds", "training time", "s", False),
    "num_parameters": Quantity("num_parameters", "parameters"),
}


def describe_quantity(name: str) -> Quantity:
    """Return what the quantity of that name is; KeyError if there is none."""
    if name in _OF_RUNS:
        return _OF_RUNS[name]
    part, _, rest = name.partition(".")
    if part in (HEADS, READOUT):
        described = STATISTICS[rest]
        title = described.title if part == HEADS else f"readout {described.title}"
        return Quantity(name, title, described.unit)
    method, _, metric = rest.rpartition(".")
    title = f"{metric_title(metric)} of {method}"
    return Quantity(name, title, "", METRICS[metric].higher_is_better)


def metric_title(metric: str) -> str:
    """Return how a metric of faithfulness is called where runs are compared."""
    title = METRICS[metric].title
    return f"{title} over random" if metric in OVER_RANDOM else title
