"""Trials that differ in their seed alone, taken together: a single one may just be lucky."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attention_atlas.analysis.sweeps.jobs import Value
from attention_atlas.analysis.sweeps.metric import Metric
from attention_atlas.analysis.sweeps.trial import SEED, Trial


@dataclass(frozen=True)
class Setting:
    """Parameters that several seeds were tried with.

    Attributes:
        parameters: All but the seed.
        mean: Over the seeds.
        deviation: Standard deviation over the seeds (n - 1); None with a single one.
        num_seeds: How many finished.
    """

    parameters: dict[str, Value | None]
    mean: float
    deviation: float | None
    num_seeds: int


@dataclass(frozen=True)
class Seeds:
    """The settings of a sweep.

    Attributes:
        settings: The best mean first.
        spread: Standard deviation of seeds within a setting, pooled over all settings that have
            two or more; None where none has.
    """

    settings: list[Setting]
    spread: float | None


def over_seeds(trials: Sequence[Trial], metric: Metric) -> Seeds:
    """Take the trials together whose parameters differ in the seed alone.

    Args:
        trials: Finished ones with a value.
        metric: That they are ranked by.
    """
    values: dict[tuple[tuple[str, Value | None], ...], list[float]] = {}
    for trial in trials:
        setting = tuple(item for item in trial.parameters.items() if item[0] != SEED)
        values.setdefault(setting, []).append(trial.value or 0.0)
    settings = [
        Setting(dict(setting), float(np.mean(found)), _deviation(found), len(found))
        for setting, found in values.items()
    ]
    settings.sort(key=lambda each: (metric.key(each.mean), str(each.parameters)))
    several = [found for found in values.values() if len(found) > 1]
    freedom = sum(len(found) - 1 for found in several)
    squares = sum(float(np.var(found)) * len(found) for found in several)
    return Seeds(settings, (squares / freedom) ** 0.5 if freedom else None)


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
