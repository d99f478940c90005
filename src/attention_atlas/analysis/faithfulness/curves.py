"""Predictions for the samples of a batch while tokens are removed or inserted.

Shapes: B batch, K tokens of the layout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from attention_atlas.analysis.faithfulness.metrics import Values, needed_counts, ranking
from attention_atlas.analysis.faithfulness.probe import Probe

Order = npt.NDArray[np.int64]


@dataclass
class Curve:
    """Probability by the number of top tokens: without these tokens, and with these alone."""

    removed: dict[int, float] = field(default_factory=dict)
    inserted: dict[int, float] = field(default_factory=dict)


def leave_one_out(probe: Probe, chosen: Sequence[Order]) -> Values:
    """Return how much the probability drops without each token, [B, K]; NaN if not chosen.

    `chosen` has the tokens of each sample that are left out one at a time.
    """
    drops: Values = np.full(probe.removable.shape, np.nan)
    rows = np.repeat(np.arange(len(chosen)), [len(tokens) for tokens in chosen])
    tokens = np.concatenate(chosen).astype(np.int64)
    removed = np.zeros((len(rows), drops.shape[1]), dtype=bool)
    removed[np.arange(len(rows)), tokens] = True
    drops[rows, tokens] = probe.whole[rows] - probe(rows, removed)
    return drops


def curves(
    probe: Probe,
    attributions: Mapping[str, Values],
    ties: Sequence[Values],
    thresholds: Sequence[float],
    steps: int,
) -> dict[str, list[Curve | None]]:
    """Return the probability while tokens are removed or inserted, by method and sample.

    Attributions are [B, K] by method, and a sample with a NaN has no curve. `ties` are numbers of
    each sample that order removable tokens of equal attribution; see `needed_counts` for the rest.
    """
    asked: list[tuple[dict[int, float], int]] = []
    rows, masks = [], []
    found: dict[str, list[Curve | None]] = {method: [] for method in attributions}
    without = probe(np.arange(len(probe.whole)), probe.removable).tolist()  # any removable token
    for sample, (whole, every) in enumerate(zip(probe.whole, without, strict=True)):
        tokens = np.flatnonzero(probe.removable[sample])
        counts = needed_counts(thresholds, steps, len(tokens))
        for method, attribution in attributions.items():
            values = attribution[sample, tokens]
            if not len(tokens) or np.isnan(values).any():
                found[method].append(None)
                continue
            order = tokens[ranking(values, ties[sample])]
            curve = Curve({0: whole, len(tokens): every}, {0: every, len(tokens): whole})
            found[method].append(curve)
            for count in counts:
                for part, removed in (
                    (curve.removed, order[:count]),
                    (curve.inserted, order[count:]),
                ):
                    asked.append((part, count))
                    rows.append(sample)
                    masks.append(_mask(removed, probe.removable.shape[1]))
    if asked:
        for (part, count), value in zip(asked, probe(np.array(rows), np.stack(masks)), strict=True):
            part[count] = float(value)
    return found


def _mask(tokens: Order, size: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(size, dtype=bool)
    mask[tokens] = True
    return mask
