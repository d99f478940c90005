"""Say in one or two sentences which attributions tell something about the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attention_atlas.analysis.faithfulness.metrics import METRICS

if TYPE_CHECKING:
    from attention_atlas.analysis.faithfulness.result import Faithfulness

JUDGED = "comprehensiveness"
NOT_JUDGED = ("random", "uniform", "leave_one_out")
"""Baselines, and what asks the model itself for each token."""

MOST_NAMES = 3


def verdict(faithfulness: Faithfulness) -> str:
    """Which methods beat random on comprehensiveness, by how much, and which were refused."""
    sentences = [_judgement(faithfulness)]
    sentences += [
        f"{_capital(faithfulness.titles.get(method, method))} was not measured: {reason}"
        for method, reason in faithfulness.refused.items()
    ]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences)


def _judgement(faithfulness: Faithfulness) -> str:
    on = METRICS[JUDGED].title
    measured = {
        method: metrics[JUDGED]
        for method, metrics in faithfulness.differences.items()
        if JUDGED in metrics and method not in NOT_JUDGED
    }
    if not measured:
        return f"No method was compared with random attributions on {on}"
    order = sorted(measured, key=lambda method: -measured[method].mean)
    better = [m for m in order if faithfulness.better_than_random(m, JUDGED)]
    others = [m for m in order if m not in better]
    described = {m: f"{faithfulness.titles.get(m, m)} ({measured[m]})" for m in order}
    if not better:
        name = (
            "No method beats"
            if len(order) > 1
            else f"{_title(faithfulness, order[0])} does not beat"
        )
        figures = f": {_listed([described[m] for m in order])}" if len(order) > 1 else ""
        alone = f" ({measured[order[0]]})" if len(order) == 1 else ""
        return f"{name} random on {on}{alone}{figures}; do not take such a map for an explanation"
    best = better[0]
    sentence = f"{_title(faithfulness, best)} beats random by {measured[best]} on {on}"
    if len(better) > 1:
        names = [faithfulness.titles.get(m, m) for m in better[1:]]
        sentence += f", and so {'do' if len(names) > 1 else 'does'} {_listed(names)}"
    if others:
        sentence += (
            f"; {_listed([described[m] for m in others])} {'do' if len(others) > 1 else 'does'} not"
        )
    return sentence


def _title(faithfulness: Faithfulness, method: str) -> str:
    return _capital(faithfulness.titles.get(method, method))


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
