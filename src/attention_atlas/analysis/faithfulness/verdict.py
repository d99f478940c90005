"""Which attribution methods beat random, in words."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from attention_atlas.analysis.faithfulness.metrics import METRICS

JUDGED = "comprehensiveness"
NOT_JUDGED = ("random", "uniform", "leave_one_out")
"""Baselines, and the method that queries the model itself for each token."""
MIN_DIFFERENCE = 0.005
"""Smallest difference that is printed as 0.01."""

_ADVICE = "Do not take these for explanations of what the model used"


@dataclass(frozen=True)
class Estimate:
    """A mean, the ends of its interval of 95 %, and the number of samples or trainings in it."""

    mean: float
    low: float
    high: float
    num_samples: int

    def __str__(self) -> str:
        return f"{self.mean:z.2f} [{self.low:z.2f}, {self.high:z.2f}]"


def judgement(
    differences: Mapping[str, Estimate], titles: Mapping[str, str], better: Collection[str]
) -> str:
    """Say which methods beat random on comprehensiveness, by how much, and which do not.

    Args:
        differences: By method, how much more it is than random.
        titles: By method, its title in sentences.
        better: The methods that are better than random beyond doubt.
    """
    on = METRICS[JUDGED].title
    order = sorted(
        (method for method in differences if method not in NOT_JUDGED),
        key=lambda method: -differences[method].mean,
    )
    if not order:
        return f"No method was compared with random attributions on {on}"
    titles = {method: titles.get(method, method) for method in order}
    winners = [method for method in order if method in better]
    others = [f"{titles[m]} ({differences[m]})" for m in order if m not in better]
    if not winners:
        return f"On {on} nothing beats random: {_enumerated(others)}. {_ADVICE}"
    best, *rest = winners
    verb = "beat" if _is_plural(titles[best]) else "beats"
    title = titles[best][:1].upper() + titles[best][1:]
    sentence = f"{title} {verb} random by {differences[best]} on {on}"
    if rest:
        do = "do" if len(rest) > 1 or _is_plural(titles[rest[0]]) else "does"
        sentence += f", and so {do} {_enumerated([titles[method] for method in rest])}"
    if others:
        last = next(method for method in order if method not in better)
        do = "do" if len(others) > 1 or _is_plural(titles[last]) else "does"
        sentence += f"; {_enumerated(others)} {do} not"
    return sentence


def _is_plural(title: str) -> bool:
    return title.endswith("s")


def _enumerated(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
