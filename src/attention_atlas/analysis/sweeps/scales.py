"""Axes for the numbers and words that parameters and values are."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from attention_atlas.analysis.sweeps.jobs import Value
from attention_atlas.analysis.sweeps.tables import shown

DECADES = 1.5  # from the least to the largest number, from which on an axis is logarithmic
FEW_NUMBERS = 6  # of which each has a mark
LEAST_GAP = 0.12  # of the axis, between two marks with numbers
MOST_CATEGORIES = 12  # that are named
LONGEST_NAME = 18  # letters of a category
LETTERS_IN_A_ROW = 32  # that fit side by side below a panel
JITTER = 0.12  # of the distance of two categories


def scale_parameter(axes: Axes, options: Sequence[Value | None]) -> list[float]:
    """Set up the axis below for the values of a parameter; return the place of each."""
    numbers = [option for option in options if isinstance(option, int | float)]
    if len(numbers) < len(options):
        return _name_categories(axes, options)
    known = sorted({float(number) for number in numbers})
    scaled = np.array(known)
    if _spans_decades(known):
        axes.set_xscale("log")
        _mark_decades(axes.xaxis, known)
        scaled = np.log10(scaled)
    elif all(isinstance(number, int) for number in numbers):
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    gaps = np.diff(scaled)
    if len(known) <= FEW_NUMBERS and (gaps >= LEAST_GAP * np.ptp(scaled)).all():
        axes.set_xticks(known, [shown(_whole(number)) for number in known])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08)
    return [float(number) for number in numbers]


def scale_values(axes: Axes, values: Sequence[float]) -> None:
    """Set up the axis beside for the values of trials, which may lie decades apart."""
    if _spans_decades(values):
        axes.set_yscale("log")
        _mark_decades(axes.yaxis, values)


def shortened(text: str, most: int) -> str:
    """Cut letters out of the middle of a text, whose ends tell most."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[: most - half - 1]}…{text[-half:]}"


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < 1e6 else number


def _spans_decades(numbers: Sequence[float]) -> bool:
    return min(numbers) > 0 and math.log10(max(numbers) / min(numbers)) >= DECADES


def _mark_decades(axis: Axis, numbers: Sequence[float]) -> None:
    """Mark an axis at decades, and where they are few at three times each too."""
    decades = math.log10(max(numbers) / min(numbers))
    axis.set_major_locator(LogLocator(subs=(1, 3) if decades < 3 else (1,), numticks=6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))


def _name_categories(axes: Axes, options: Sequence[Value | None]) -> list[float]:
    """Name categories on the axis below, and return the place of each option, a little apart."""
    known = sorted(set(options), key=_order)
    places = {option: place for place, option in enumerate(known)}
    step = -(-len(known) // MOST_CATEGORIES)
    names = _names([shown(option) for option in known])[::step]
    axes.set_xticks(range(0, len(known), step), names, parse_math=False)
    axes.set_xlim(-0.5, len(known) - 0.5)
    if sum(len(name) + 2 for name in names) > LETTERS_IN_A_ROW:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    jitter = np.random.default_rng(0).uniform(-JITTER, JITTER, len(options)).tolist()
    return [places[option] + shift for option, shift in zip(options, jitter, strict=True)]


def _names(words: Sequence[str]) -> list[str]:
    """Shorten names so that they can be told apart: where they begin alike, that is left out."""
    names = [shortened(word, LONGEST_NAME) for word in words]
    if len(set(names)) == len(words):
        return names
    pairs = zip(min(words), max(words), strict=False)
    alike = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)])
    return [shortened(f"…{word[alike:]}", LONGEST_NAME) for word in words]


def _order(option: Value | None) -> tuple[int, float, str]:
    """Numbers come first, then words, then what a trial has not got."""
    if option is None:
        return 2, 0.0, ""
    return (0, float(option), "") if isinstance(option, int | float) else (1, 0.0, option)
