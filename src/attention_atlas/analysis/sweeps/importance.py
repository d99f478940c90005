"""Importance of the parameters of a sweep, by a random forest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attention_atlas.analysis.sweeps.trial import Trial, Value

MIN_TRIALS, MIN_PARAMETERS = 10, 2
FOLDS, TREES, REPEATS = 5, 100, 5
CHANCE = 0.05  # rate at which parameters may seem to matter when none does

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """Importance of each parameter for the value of trials.

    Attributes:
        fractions: Importance by parameter, the largest first; they sum to 1.
        r2: Fraction of the variance of values that the forest predicts on unseen trials.
        num_trials: Number of trials that the forest was fitted to.
    """

    fractions: dict[str, float]
    r2: float
    num_trials: int


def parameter_importance(trials: Sequence[Trial], parameters: Sequence[str]) -> Importance | str:
    """Return the importance of parameters, or a message on why finished trials do not show it.

    A random forest (Breiman 2001) predicts the value from the parameters. The importance of a
    parameter is the growth of the squared error on unseen trials when its column is permuted among
    them, over 5 folds with 5 permutations each. Unlike the functional ANOVA of forests (Hutter,
    Hoos and Leyton-Brown 2014), this judges by trials that the forest was not fitted to, so that a
    parameter without effect gets no importance. Correlated parameters divide the importance that
    either would have. The result is deterministic.

    It is unknown where the forest predicts unseen trials no better than their mean does (R2 at or
    below 0), or where its predictions correlate with their values by chance (one-sided, p above
    0.05): of ten trials whose parameters do nothing, one set in six has an R2 above 0.
    """
    values = np.array([trial.value for trial in trials], dtype=float)
    columns = {name: _column([trial.parameters[name] for trial in trials]) for name in parameters}
    columns = {name: column for name, column in columns.items() if len(np.unique(column)) > 1}
    reason = _why_not(values, len(columns))
    if reason is not None:
        return reason
    predicted, growth = _permute(np.stack(list(columns.values()), axis=1), values)
    r2 = 1 - float(np.sum((predicted - values) ** 2) / np.sum((values - values.mean()) ** 2))
    if r2 <= 0 or not growth.any() or _is_chance(predicted, values):
        return (
            f"The {len(trials)} finished trials do not tell which parameter matters: what is "
            f"learned of some predicts the others no better than chance does (R2 {r2:z.2f})."
        )
    fractions = dict(zip(columns, (growth / growth.sum()).tolist(), strict=True))
    return Importance(dict(sorted(fractions.items(), key=lambda i: (-i[1], i[0]))), r2, len(trials))


def _why_not(values: Numbers, num_parameters: int) -> str | None:
    missing = MIN_TRIALS - len(values)
    if num_parameters < MIN_PARAMETERS:
        return (
            "How much each parameter matters can be told where two parameters or more differ "
            f"between finished trials: here {('none does', 'only one does')[num_parameters]}."
        )
    if missing > 0:
        return (
            f"How much each parameter matters can be told from {MIN_TRIALS} finished trials on, "
            f"{missing} more than there are."
        )
    if np.ptp(values) == 0:
        return "All finished trials have the same value: none of their parameters mattered."
    return None


def _column(values: Sequence[Value | None]) -> Numbers:
    """Return values [N] as numbers: words become their index when sorted.

    A missing override is below all others.
    """
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) for value in known):
        numbers = [float(value) for value in known]
        low, high = min(numbers, default=0.0), max(numbers, default=0.0)
        missing = low - max(high - low, 1.0)
        return np.array([missing if value is None else float(value) for value in values])
    words = sorted({str(value) for value in known})
    return np.array([-1.0 if value is None else float(words.index(str(value))) for value in values])


def _permute(columns: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    """Return predictions [N] on unseen trials from columns [N, P], and growth of error [P]."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    predicted, growth = np.empty(len(values)), np.zeros(columns.shape[1])
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(columns):
        forest = RandomForestRegressor(TREES, random_state=0).fit(columns[train], values[train])
        predicted[test] = forest.predict(columns[test])
        found = permutation_importance(
            forest,
            columns[test],
            values[test],
            scoring="neg_mean_squared_error",
            n_repeats=REPEATS,
            random_state=0,
        )
        growth += len(test) * found.importances_mean
    return predicted, np.maximum(growth, 0)


def _is_chance(predicted: Numbers, values: Numbers) -> bool:
    """Return whether predictions may correlate with values by chance alone."""
    from scipy.stats import pearsonr

    if np.ptp(predicted) == 0:
        return True
    return float(pearsonr(predicted, values, alternative="greater").pvalue) > CHANCE
