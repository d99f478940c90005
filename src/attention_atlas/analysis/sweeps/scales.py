"""Scales of axes for parameters and values, which are numbers or categories."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from attention_atlas.analysis.sweeps.tables import format_value
from attention_atlas.analysis.sweeps.trial import Value

MIN_DECADES = 1.5  # between the smallest and the largest number on a logarithmic axis
FEW_NUMBERS = 6  # that have a tick each
MIN_GAP = 0.12  # between two labelled ticks, as a fraction of the axis
MAX_CATEGORIES = 12  # with a label
MAX_NAME = 18  # characters of a category
MAX_ROW = 32  # characters that fit side by side below a panel
JITTER = 0.12  # as a fraction of the distance of two categories


def scale_parameter(axes: Axes, options: Sequence[Value | None]) -> list[float]:
    """Scale the x axis to the values of a parameter; return the position of each."""
    numbers = [option for option in options if isinstance(option, int | float)]
    if len(numbers) < len(options):
        return _label_categories(axes, options)
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
    if len(known) <= FEW_NUMBERS and (gaps >= MIN_GAP * np.ptp(scaled)).all():
        axes.set_xticks(known, [format_value(_as_integer(number)) for number in known])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08)
    return [float(number) for number in numbers]


def scale_values(axes: Axes, values: Sequence[float]) -> None:
    """Scale the y axis to the values of trials, which may lie decades apart."""
    if _spans_decades(values):
        axes.set_yscale("log")
        _mark_decades(axes.yaxis, values)


def shorten(text: str, max_length: int) -> str:
    """Cut the middle out of a text: its ends say most."""
    if len(text) <= max_length:
        return text
    half = max_length // 2
    return f"{text[: max_length - half - 1]}…{text[-half:]}"


def _as_integer(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < 1e6 else number


def _spans_decades(numbers: Sequence[float]) -> bool:
    return min(numbers) > 0 and math.log10(max(numbers) / min(numbers)) >= MIN_DECADES


def _mark_decades(axis: Axis, numbers: Sequence[float]) -> None:
    """Put ticks at decades, and at three times each if there are few."""
    decades = math.log10(max(numbers) / min(numbers))
    axis.set_major_locator(LogLocator(subs=(1, 3) if decades < 3 else (1,), numticks=6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))


def _label_categories(axes: Axes, options: Sequence[Value | None]) -> list[float]:
    """Label categories on the x axis; return the position of each option, with jitter."""
    known = sorted(set(options), key=_order)
    positions = {option: index for index, option in enumerate(known)}
    step = -(-len(known) // MAX_CATEGORIES)
    names = _names([format_value(option) for option in known])[::step]
    axes.set_xticks(range(0, len(known), step), names, parse_math=False)
    axes.set_xlim(-0.5, len(known) - 0.5)
    if sum(len(name) + 2 for name in names) > MAX_ROW:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    jitter = np.random.default_rng(0).uniform(-JITTER, JITTER, len(options)).tolist()
    return [positions[option] + shift for option, shift in zip(options, jitter, strict=True)]


def _names(words: Sequence[str]) -> list[str]:
    """Shorten names so that they stay distinct, if need be without their common beginning."""
    names = [shorten(word, MAX_NAME) for word in words]
    if len(set(names)) == len(words):
        return names
    pairs = zip(min(words), max(words), strict=False)
    common = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)])
    return [shorten(f"…{word[common:]}", MAX_NAME) for word in words]


def _order(option: Value | None) -> tuple[int, float, str]:
    """Sort numbers first, then words, then missing values."""
    if option is None:
        return 2, 0.0, ""
    return (0, float(option), "") if isinstance(option, int | float) else (1, 0.0, option)
