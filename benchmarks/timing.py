"""Time of several steps that take turns: A B C, B C A, C A B and so on.

The time is that of the process, user and system, so that other programs count little; on a GPU it
is that between two CUDA events. A ratio is the median of the ratios of each round: while a round
lasts the machine changes less than during a run, so that this scatters less than the ratio of two
medians (measured: two equal steps are 0.7 % apart, against 2.6 %).
"""

from __future__ import annotations

import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.figures import Comparison, Figure

Step = Callable[[], object]
Round = dict[str, float]  # seconds of the steps that took part

SECONDS_PER_TURN = 0.02  # a shorter step is repeated
LONG = 0.2  # seconds of a step that needs one warm-up only


@dataclass(frozen=True)
class Effort:
    """How many rounds there are.

    Attributes:
        min_rounds: Rounds of a comparison that has a bound.
        min_unbounded: Rounds of one that has none.
        max_rounds: Rounds of a comparison whose bound is so near that more are needed to tell.
        extra_seconds: Time for these, in all.
    """

    min_rounds: int = 5
    min_unbounded: int = 3
    max_rounds: int = 40
    extra_seconds: float = 20.0


QUICK = Effort(min_rounds=2, min_unbounded=2, max_rounds=2, extra_seconds=0.0)


def take_turns(
    steps: Mapping[str, Step],
    comparisons: Sequence[Comparison],
    device: str,
    effort: Effort,
    warm_ups: int = 2,
) -> list[Round]:
    """Run the steps in turns, until there are enough rounds for each comparison.

    Without warm-ups, which tell how long a step takes, none is repeated within a turn.
    """
    repeats = {name: _warm_up(step, device, warm_ups) for name, step in steps.items()}
    rounds: list[Round] = []
    open_ones = list(comparisons)
    extra = 0.0
    while open_ones:
        needed = {name for each in open_ones for name in (each.name, each.against)}
        turns = [name for name in steps if name in needed]
        first = len(rounds) % len(turns)
        gc.collect()
        rounds.append(
            {
                name: seconds_of(steps[name], device, repeats[name])
                for name in (*turns[first:], *turns[:first])
            }
        )
        if len(rounds) > effort.min_rounds:
            extra += sum(rounds[-1][name] * repeats[name] for name in turns)
        may_go_on = len(rounds) < effort.max_rounds and extra < effort.extra_seconds
        open_ones = [
            each
            for each in open_ones
            if len(rounds) < (effort.min_unbounded if each.bound is None else effort.min_rounds)
            or (may_go_on and _is_near(each, ratios(rounds, each)))
        ]
    return rounds


def seconds_of(step: Step, device: str, repeats: int = 1) -> float:
    """Seconds that a step takes, on average over the repeats."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(repeats):
            step()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000 / repeats
    started = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - started) / repeats


def ratios(rounds: Sequence[Round], comparison: Comparison) -> list[float]:
    """The ratio in each round in which both took part."""
    pair = comparison.name, comparison.against
    return [one[pair[0]] / one[pair[1]] for one in rounds if all(name in one for name in pair)]


def time_figures(
    group: str,
    case: str,
    comparisons: Sequence[Comparison],
    rounds: Sequence[Round],
    device: str,
    note: str = "",
) -> list[Figure]:
    """Return the result of each comparison."""
    figures = []
    for comparison in comparisons:
        each = ratios(rounds, comparison)
        low, value, high = _quartiles(each)
        amount, against_amount = (
            statistics.median(one[name] for one in rounds if name in one)
            for name in (comparison.name, comparison.against)
        )
        figures.append(
            Figure(
                group,
                case,
                comparison,
                unit="CUDA s" if device == "cuda" else "CPU s",
                value=value,
                low=low,
                high=high,
                amount=amount,
                against_amount=against_amount,
                rounds=len(each),
                note=note,
            )
        )
    return figures


def tell(text: str) -> None:
    """Say what is being measured, beside the tables."""
    print(f"... {text}", file=sys.stderr, flush=True)


def _warm_up(step: Step, device: str, warm_ups: int) -> int:
    """Run a step; return how often it must be repeated in a turn."""
    seconds = SECONDS_PER_TURN
    for _ in range(warm_ups):
        seconds = seconds_of(step, device)
        if seconds > LONG:
            break
    return max(1, math.ceil(SECONDS_PER_TURN / max(seconds, 1e-6)))


def _is_near(comparison: Comparison, each: list[float]) -> bool:
    """Whether the bound is within two standard errors of the median."""
    if comparison.bound is None:
        return False
    low, median, high = _quartiles(each)
    error = 0.93 * (high - low) / math.sqrt(len(each))  # of the median of a normal distribution
    return abs(median - comparison.bound) < 2 * error


def _quartiles(values: list[float]) -> list[float]:
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")
