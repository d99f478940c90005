"""Write a comparison as tables in Markdown."""

from collections.abc import Sequence

from attention_atlas.analysis.comparison.groups import Comparison, Group
from attention_atlas.analysis.comparison.intervals import Interval
from attention_atlas.analysis.comparison.quantities import (
    FAITHFULNESS,
    HEADS,
    READOUT,
    Quantity,
    describe_quantity,
)
from attention_atlas.errors import InputError

DEFAULT_QUANTITIES = (
    "accuracy",
    "cpu_seconds",
    "num_parameters",
    f"{READOUT}.relative_entropy",
    f"{HEADS}.relative_entropy",
    f"{HEADS}.sink_score",
)
DEFAULT_METRIC = "comprehensiveness"
LEGEND = (
    "In brackets the interval of 95 %: over runs where there are several, else over the samples of "
    "the one run. Bold is the best; (tie) says that the interval of the difference to the best "
    "includes 0."
)


def comparison_markdown(comparison: Comparison, quantities: Sequence[str] | None = None) -> str:
    """Return a table of groups x quantities for each task and data, with a legend and the notes.

    Args:
        comparison: From `compare_runs`.
        quantities: Names of the columns; by default accuracy, cost, entropies, and the
            comprehensiveness of each attribution method that was measured.

    Raises:
        InputError: If no run has one of the quantities.
    """
    known = comparison.quantities
    unknown = [name for name in quantities or () if name not in known]
    if unknown:
        raise InputError(f"No run has {unknown[0]!r}: the runs have {', '.join(known)}.")
    names = list(quantities) if quantities is not None else default_quantities(comparison)
    parts = [_table(comparison, task, data, names) for task, data in comparison.tasks]
    parts += [LEGEND, *(f"- {note}" for note in comparison.notes)]
    return "\n\n".join(parts) + "\n"


def default_quantities(comparison: Comparison) -> list[str]:
    """Return the quantities that a table shows where nobody chose."""
    measured = [
        name
        for name in comparison.quantities
        if name.startswith(f"{FAITHFULNESS}.") and name.endswith(f".{DEFAULT_METRIC}")
    ]
    known = comparison.quantities
    return [name for name in DEFAULT_QUANTITIES if name in known] + measured


def interval_in_words(interval: Interval, quantity: Quantity) -> str:
    """Return a mean with its interval, such as `98.20 [97.17, 98.86]`, without the unit."""
    scale = 100 if quantity.unit == "%" else 1
    ends = [interval.low, interval.high] if interval.low != interval.high else []
    numbers = [scale * value for value in (interval.mean, *ends) if value is not None]
    largest = max(abs(number) for number in numbers)
    digits = 0 if largest >= 1000 else 1 if largest >= 100 else 2 if scale == 100 else 3
    words = [f"{number:,.{digits}f}" for number in numbers]
    return words[0] + (f" [{words[1]}, {words[2]}]" if len(words) == 3 else "")


def _table(comparison: Comparison, task: str, data: str, names: list[str]) -> str:
    groups = comparison.of_task(task, data)
    names = [name for name in names if any(name in group.intervals for group in groups)]
    described = [describe_quantity(name) for name in names]
    best = {name: comparison.best(task, data, name) for name in names}
    heads = [f"{q.title} ({q.unit})" if q.unit else q.title for q in described]
    lines = [
        f"**{task}, {data}**\n",
        _line(["attention", "runs", *heads]),
        _line(["---", *["---:"] * (1 + len(heads))]),
    ]
    for group in groups:
        cells = [_cell(group, quantity, best[quantity.name]) for quantity in described]
        lines.append(_line([group.label, str(len(group.runs)), *cells]))
    return "\n".join(lines)


def _cell(group: Group, quantity: Quantity, best: list[str]) -> str:
    interval = group.intervals.get(quantity.name)
    if interval is None:
        return "-"
    words = interval_in_words(interval, quantity)
    if group.label not in best:
        return words
    words = f"**{words}**" if group.label == best[0] else words
    return f"{words} (tie)" if len(best) > 1 else words


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
