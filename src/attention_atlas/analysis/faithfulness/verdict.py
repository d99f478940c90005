"""Say in one or two sentences which attributions tell something about the model."""

from collections.abc import Sequence

from attention_atlas.analysis.faithfulness.metrics import METRICS
from attention_atlas.analysis.faithfulness.result import Faithfulness

JUDGED = "comprehensiveness"
NOT_JUDGED = ("random", "uniform", "leave_one_out")
"""Baselines, and what asks the model itself for each token."""

_ADVICE = "Do not take these for explanations of what the model used"


def verdict(faithfulness: Faithfulness) -> str:
    """Which methods beat random on comprehensiveness, by how much, and which were refused."""
    sentences = [_judgement(faithfulness)]
    if faithfulness.refused:
        reasons = [reason.rstrip(".") for reason in faithfulness.refused.values()]
        sentences.append(f"Not measured: {'; '.join(reasons)}")
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
    titles = {method: faithfulness.titles.get(method, method) for method in order}
    better = [method for method in order if faithfulness.better_than_random(method, JUDGED)]
    others = [f"{titles[m]} ({measured[m]})" for m in order if m not in better]
    if not better:
        return f"On {on} nothing beats random: {_listed(others)}. {_ADVICE}"
    best, *rest = better
    verb = "beat" if _is_plural(titles[best]) else "beats"
    sentence = f"{_capital(titles[best])} {verb} random by {measured[best]} on {on}"
    if rest:
        do = "do" if len(rest) > 1 or _is_plural(titles[rest[0]]) else "does"
        sentence += f", and so {do} {_listed([titles[method] for method in rest])}"
    if others:
        last = next(method for method in order if method not in better)
        do = "do" if len(others) > 1 or _is_plural(titles[last]) else "does"
        sentence += f"; {_listed(others)} {do} not"
    return sentence


def _is_plural(title: str) -> bool:
    return title.endswith("s")


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
