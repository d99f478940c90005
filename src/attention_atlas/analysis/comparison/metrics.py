"""The quantities that runs are compared by: names, titles, units, ranges, better direction."""

import math
from dataclasses import dataclass

from attention_atlas.analysis.faithfulness import METRICS
from attention_atlas.analysis.heads import STATISTICS

HEADS, READOUT, FAITHFULNESS_PREFIX = "heads", "readout", "faithfulness"

OVER_RANDOM = ("comprehensiveness", "sufficiency", "deletion_auc", "insertion_auc")
"""Metrics from which those of random attributions on the same samples are subtracted.

Some models change their prediction whatever is removed, so that the level alone says nothing about
an attribution.
"""


@dataclass(frozen=True)
class Quantity:
    """A number of a run.

    Attributes:
        name: `accuracy`, `cpu_seconds`, `train_seconds`, `num_parameters`, or with a prefix:
            `heads.entropy`, `readout.entropy`, `faithfulness.rollout.comprehensiveness`.
        title: Title in tables and figures.
        unit: `%` for a fraction that is shown times 100; empty without a unit.
        higher_is_better: None where neither direction is better.
        minimum: Lower end of its range, in the unit of the values.
        maximum: Upper end of its range.
        varies: Whether it depends on chance, so that an interval makes sense.
    """

    name: str
    title: str
    unit: str = ""
    higher_is_better: bool | None = None
    minimum: float = -math.inf
    maximum: float = math.inf
    varies: bool = True

    @property
    def heading(self) -> str:
        """Title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def better(self) -> str:
        """Word for the better direction, of a quantity that has one."""
        return "higher" if self.higher_is_better else "lower"


_OF_RUNS = {
    "accuracy": Quantity("accuracy", "accuracy", "%", True, 0, 1),
    "cpu_seconds": Quantity("cpu_seconds", "CPU time", "s", False, 0),
    "train_seconds": Quantity("train_seconds", "training time", "s", False, 0),
    "num_parameters": Quantity("num_parameters", "parameters", minimum=0, varies=False),
}
_FRACTIONS = {"relative_entropy", "maximum", "sink_score", "sink_rate", "null_share"}


def describe_quantity(name: str) -> Quantity:
    """Describe the quantity of that name.

    Raises:
        KeyError: There is no such quantity.
    """
    if name in _OF_RUNS:
        return _OF_RUNS[name]
    part, _, rest = name.partition(".")
    if part in (HEADS, READOUT):
        described = STATISTICS[rest]
        title = described.title if part == HEADS else f"readout {described.title}"
        return Quantity(name, title, described.unit, None, 0, 1 if rest in _FRACTIONS else math.inf)
    method, _, metric = rest.rpartition(".")
    title = f"{metric_title(metric)} of {method}"
    # Differences of two probabilities or of two areas below 1, and correlations.
    return Quantity(name, title, "", METRICS[metric].higher_is_better, -1, 1)


def metric_title(metric: str) -> str:
    """Return the title of a faithfulness metric in comparisons of runs."""
    title = METRICS[metric].title
    return f"{title} over random" if metric in OVER_RANDOM else title
