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
        least: That it can be, in the unit of the values of a run; None where there is no end.
        most: The same at the other end.
        varies: Whether chance has a part in it, so that an interval says something.
    """

    name: str
    title: str
    unit: str = ""
    higher_is_better: bool | None = None
    least: float | None = None
    most: float | None = None
    varies: bool = True

    @property
    def range_of_differences(self) -> tuple[float | None, float | None]:
        """The least and the most that two of its values can differ by."""
        if self.least is None or self.most is None:
            return None, None
        return self.least - self.most, self.most - self.least


_OF_RUNS = {
    "accuracy": Quantity("accuracy", "accuracy", "%", True, 0, 1),
    "cpu_seconds": Quantity("cpu_seconds", "CPU time", "s", False, 0),
    "train_seconds": Quantity("train_seconds", "training time", "s", False, 0),
    "num_parameters": Quantity("num_parameters", "parameters", least=0, varies=False),
}
_SHARES = {"relative_entropy", "maximum", "sink_score", "sink_rate", "null_share"}


def describe_quantity(name: str) -> Quantity:
    """Return what the quantity of that name is; KeyError if there is none."""
    if name in _OF_RUNS:
        return _OF_RUNS[name]
    part, _, rest = name.partition(".")
    if part in (HEADS, READOUT):
        described = STATISTICS[rest]
        title = described.title if part == HEADS else f"readout {described.title}"
        return Quantity(name, title, described.unit, None, 0, 1 if rest in _SHARES else None)
    method, _, metric = rest.rpartition(".")
    title = f"{metric_title(metric)} of {method}"
    # Differences of two probabilities or of two areas below 1, and correlations.
    return Quantity(name, title, "", METRICS[metric].higher_is_better, -1, 1)


def metric_title(metric: str) -> str:
    """Return how a metric of faithfulness is called where runs are compared."""
    title = METRICS[metric].title
    return f"{title} over random" if metric in OVER_RANDOM else title
