"""Tables, facts and numbers for people: laid out by rich on a terminal, plain lines in a pipe."""

import csv
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from attention_atlas.console import fixed_width, make_console, one_line

if TYPE_CHECKING:
    from rich.table import Table

GAP = 2  # columns of the terminal between two columns of a table

Rows = Sequence[Sequence[str]]


def print_table(
    headings: Sequence[str], rows: Rows, numbers: Collection[str] = (), in_pieces: bool = False
) -> None:
    """Print a table on stdout, in a pipe as tab-separated values.

    On a terminal, cells that do not fit are folded. No cell is ever cropped.

    Args:
        headings: Names of the columns; the first one names the rows.
        rows: Cells in the order of the headings.
        numbers: Headings of columns that are aligned to the right, and folded last.
        in_pieces: Split a table that is too wide between columns, into pieces that repeat the
            first one, instead of folding its cells.
    """
    width = fixed_width()
    rows = [[one_line(cell) for cell in row] for row in rows]
    if width is None:
        writer = csv.writer(sys.stdout, "excel-tab", lineterminator="\n")
        writer.writerows([cell.strip() for cell in row] for row in (headings, *rows))
        return
    everything = [headings, *rows]
    pieces = _split(everything, width) if in_pieces else [list(range(len(headings)))]
    for number, columns in enumerate(pieces):
        if number:
            print()
        table = _new_table()
        for column in columns:
            is_number = headings[column] in numbers
            table.add_column(
                headings[column],
                overflow="fold",
                no_wrap=is_number,
                justify="right" if is_number else "left",
            )
        for row in rows:
            table.add_row(*(row[column] for column in columns))
        make_console(width).print(table)


def print_facts(facts: Sequence[tuple[str, str | Sequence[str]]]) -> None:
    """Print names with their values, on a terminal folded beside the names."""
    values = {
        name: one_line(value if isinstance(value, str) else ", ".join(value))
        for name, value in facts
    }
    width = fixed_width()
    if width is None:
        margin = max(map(len, values)) + GAP
        for name, value in values.items():
            print(f"{name:<{margin}}{value}")
        return
    table = _new_table()
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, value)
    make_console(width).print(table)


def _new_table() -> "Table":
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))


def _split(rows: Rows, width: int) -> list[list[int]]:
    """Return the columns of each piece, the first column in all of them."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    pieces, used = [[0]], widths[0]
    for column in range(1, len(widths)):
        if len(pieces[-1]) > 1 and used + GAP + widths[column] > width:
            pieces.append([0])
            used = widths[0]
        pieces[-1].append(column)
        used += GAP + widths[column]
    return pieces


def percent(fraction: float) -> str:
    """Format `0.875` as `87.50 %`."""
    return f"{100 * fraction:.2f} %"


def format_p_value(p_value: float) -> str:
    """Format `0.0123` as `0.012`, and `0.0001` as `< 0.001`, never as 0."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def format_size(size: int) -> str:
    """Format a number of bytes with a unit."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size / 2**10:.1f} KiB"


def format_age(seconds: int) -> str:
    """Format an elapsed time in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def format_value(value: object) -> str:
    """Format a plain value of a config or a result."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(format_value(item) for item in value) or "none"
    return str(value)
