"""Format a comparison as tables in Markdown."""

from collections.abc import Sequence

from attention_atlas.analysis.comparison.compare_runs import Comparison, Group
from attention_atlas.analysis.comparison.metrics import (
    FAITHFULNESS_PREFIX,
    HEADS,
    READOUT,
    Quantity,
    describe_quantity,
    metric_title,
)
from attention_atlas.analysis.intervals import Interval
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
IN_BRACKETS = (
    "In brackets the interval of 95 %: over runs where there are several, else over the samples of "
    "the one run, and cut at the ends of what a quantity can be, such as 100 %."
)
LEGEND = (
    f"{IN_BRACKETS} Bold is the best; (tie) says that the interval of the difference to the best "
    "includes 0."
)


def comparison_markdown(comparison: Comparison, quantities: Sequence[str] | None = None) -> str:
    """Return tables of groups x quantities for each task and data, with a legend and the notes.

    Faithfulness has a table of its own for each metric, with a column for each attribution method.

    Args:
        comparison: From `compare_runs`.
        quantities: Names of the columns; by default accuracy, cost, entropies, and the
            comprehensiveness of each attribution method that was measured.

    Raises:
        InputError: No run has one of the quantities.
    """
    known = comparison.quantities
    unknown = [name for name in quantities or () if name not in known]
    if unknown:
        raise InputError(f"No run has {unknown[0]!r}: the runs have {', '.join(known)}.")
    names = list(quantities) if quantities is not None else default_quantities(comparison)
    parts = []
    for task, data in comparison.tasks:
        parts += [f"**{task}, {data}**", *_tables(comparison, task, data, names)]
    parts.append(LEGEND)
    if comparison.notes:
        parts.append("\n".join(f"- {note}" for note in comparison.notes))
    return "\n\n".join(parts) + "\n"


def default_quantities(comparison: Comparison) -> list[str]:
    """Return the quantities that a table shows by default."""
    known = comparison.quantities
    measured = [n for n in known if is_faithfulness(n) and n.endswith(f".{DEFAULT_METRIC}")]
    return [name for name in DEFAULT_QUANTITIES if name in known] + measured


def format_interval(interval: Interval, quantity: Quantity) -> str:
    """Format a mean with its interval, such as `98.20 [97.17, 98.86]`, without the unit."""
    scale = 100 if quantity.unit == "%" else 1
    ends = [interval.low, interval.high] if quantity.varies else []
    numbers = [scale * value for value in (interval.mean, *ends) if value is not None]
    largest = max(abs(number) for number in numbers)
    digits = 0 if largest >= 1000 else {"%": 2, "s": 1}.get(quantity.unit, 3)
    texts = [f"{number:z,.{digits}f}" for number in numbers]  # z: never -0.000
    return texts[0] + (f" [{texts[1]}, {texts[2]}]" if len(texts) == 3 else "")


def quantities_by_metric(groups: list[Group], names: Sequence[str]) -> dict[str, list[Quantity]]:
    """Return the quantities that groups have by metric of faithfulness; the others by ""."""
    by_metric: dict[str, list[Quantity]] = {}
    for name in names:
        if any(name in group.intervals for group in groups):
            metric = name.rpartition(".")[2] if is_faithfulness(name) else ""
            by_metric.setdefault(metric, []).append(describe_quantity(name))
    return by_metric


def _tables(comparison: Comparison, task: str, data: str, names: list[str]) -> list[str]:
    """Return the table of a task and data, and those of its faithfulness with their headings."""
    groups = comparison.of_task(task, data)
    best = {name: comparison.best(task, data, name) for name in names}
    tables = []
    for metric, described in quantities_by_metric(groups, names).items():
        heads = [quantity.heading for quantity in described]
        if metric:
            better = f"({described[0].better} is better)"
            tables.append(f"{metric_title(metric)} by attribution method {better}:")
            heads = [quantity.name.split(".")[1] for quantity in described]
        tables.append(_table(groups, described, heads, best))
    return tables


def is_faithfulness(name: str) -> bool:
    """Return whether a quantity is a metric of faithfulness."""
    return name.startswith(f"{FAITHFULNESS_PREFIX}.")


def _table(
    groups: list[Group], described: list[Quantity], heads: list[str], best: dict[str, list[str]]
) -> str:
    rows = [
        [
            group.label,
            str(group.num_runs),
            *(_cell(group, quantity, best[quantity.name]) for quantity in described),
        ]
        for group in groups
    ]
    return markdown_table(["attention", "runs", *heads], rows)


def markdown_table(headings: list[str], rows: list[list[str]]) -> str:
    """Format a table whose first column is text and whose others are numbers."""
    ruler = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(_line(cells) for cells in (headings, ruler, *rows))


def _cell(group: Group, quantity: Quantity, best: list[str]) -> str:
    interval = group.intervals.get(quantity.name)
    if interval is None:
        return "-"
    text = format_interval(interval, quantity)
    if group.label not in best:
        return text
    text = f"**{text}**" if group.label == best[0] else text
    return f"{text} (tie)" if len(best) > 1 else text


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
