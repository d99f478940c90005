"""Statistics of heads as one list of numbers, for tables and files."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from attention_atlas.analysis.heads import HeadStatistics
    from attention_atlas.analysis.heads.importance import HeadImportance

READOUT = "readout"  # instead of the index of a layer
IMPORTANCE = "importance"
MAX_DECIMALS = 6  # a statistic with smaller numbers has exponents


class HeadNumber(NamedTuple):
    """One statistic of one head; NaN if a head has none."""

    layer: int | str
    head: int
    statistic: str
    unit: str
    mean: float
    deviation: float


def list_numbers(
    statistics: "HeadStatistics", importance: "HeadImportance | None" = None
) -> list[HeadNumber]:
    """Return all numbers, statistic by statistic, the readout behind the layers."""
    from attention_atlas.analysis.heads import STATISTICS

    numbers: list[HeadNumber] = []
    for name in dict.fromkeys([*statistics.mean, *statistics.readout_mean]):
        unit = STATISTICS[name].unit
        for layer, means in enumerate(statistics.mean.get(name, ())):
            numbers += _of_layer(layer, name, unit, means, statistics.deviation[name][layer])
        if name in statistics.readout_mean:
            means, spread = statistics.readout_mean[name], statistics.readout_deviation[name]
            numbers += _of_layer(READOUT, name, unit, means, spread)
    if importance is not None:
        layers: list[tuple[int | str, Any]] = [*enumerate(importance.layers)]
        for layer_name, means in [*layers, (READOUT, importance.readout)]:
            numbers += _of_layer(layer_name, IMPORTANCE, "", means, [float("nan")] * len(means))
    return numbers


def _of_layer(
    layer: int | str, statistic: str, unit: str, means: Any, deviations: Any
) -> Iterator[HeadNumber]:
    for head, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        yield HeadNumber(layer, head, statistic, unit, float(mean), float(deviation))


def table_by_head(numbers: Sequence[HeadNumber]) -> tuple[list[str], list[list[str]]]:
    """Return headings, and a row for each head with mean ± standard deviation."""
    decimals = _decimals(numbers)
    cells = {
        (n.layer, n.head, n.statistic): _with_deviation(n, decimals[n.statistic]) for n in numbers
    }
    heads = _in_order({(n.layer, n.head) for n in numbers})
    rows = [
        [
            f"{_named(layer)}, head {head}",
            *(cells.get((layer, head, name), "-") for name in decimals),
        ]
        for layer, head in heads
    ]
    return ["head", *_headings(numbers)], rows


def table_by_layer(numbers: Sequence[HeadNumber]) -> tuple[list[str], list[list[str]]]:
    """Return headings, and a row for each layer with the mean of its heads."""
    rows = []
    for layer, _ in _in_order({(n.layer, 0) for n in numbers}):
        row = [_named(layer)]
        for name, digits in _decimals(numbers).items():
            means = [n.mean for n in numbers if (n.layer, n.statistic) == (layer, name)]
            row.append(_number(sum(means) / len(means), digits) if means else "-")
        rows.append(row)
    return ["layer", *_headings(numbers)], rows


def write_csv(numbers: Sequence[HeadNumber], path: Path) -> None:
    """Write a row for each number; a missing value is an empty cell."""
    from attention_atlas.output_files import draft

    with draft(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HeadNumber._fields)
        writer.writerows(["" if cell != cell else cell for cell in number] for number in numbers)


def _in_order(heads: set[tuple[int | str, int]]) -> list[tuple[int | str, int]]:
    """Sort layers by number, the readout last."""
    return sorted(heads, key=lambda head: (head[0] == READOUT, head))


def _named(layer: int | str) -> str:
    return READOUT if layer == READOUT else f"layer {layer}"


def _headings(numbers: Sequence[HeadNumber]) -> list[str]:
    units = {n.statistic: n.unit for n in numbers}
    return [
        name.replace("_", " ") + (f" ({unit})" if unit and unit not in name else "")
        for name, unit in units.items()
    ]


def _decimals(numbers: Sequence[HeadNumber]) -> dict[str, int]:
    """Return how many decimals each statistic has, so that its largest number has three digits."""
    largest: dict[str, float] = {}
    for n in numbers:
        sizes = [abs(value) for value in (n.mean, n.deviation) if math.isfinite(value)]
        largest[n.statistic] = max([largest.get(n.statistic, 0.0), *sizes])
    return {
        name: max(0, 3 - math.ceil(math.log10(size))) if size else 3
        for name, size in largest.items()
    }


def _with_deviation(number: HeadNumber, decimals: int) -> str:
    spread = _number(number.deviation, decimals)
    return _number(number.mean, decimals) + (f" ± {spread}" if spread != "-" else "")


def _number(value: float, decimals: int) -> str:
    if value != value:
        return "-"
    return f"{value:z.{decimals}f}" if decimals <= MAX_DECIMALS else f"{value:.2e}"
