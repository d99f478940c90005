"""Tables that lose nothing: as wide as they are, or else in pieces or paragraphs that fit."""

from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from attention_atlas.cli.console import fixed_width, make_console

GAP = 2  # columns between two columns of a table
INDENT = "  "

Rows = Sequence[Sequence[str]]


def print_table(
    headings: Sequence[str], rows: Rows, numbers: Collection[str] = (), in_pieces: bool = False
) -> None:
    """Print a table on stdout.

    For a program, and where it fits the terminal, a row is a line. Else it is cut between columns
    into pieces that repeat the first one, if it is a table of numbers; or each row becomes a
    paragraph of `name value`. No cell is ever cropped or broken.

    Args:
        headings: Names of the columns; the first one names the rows.
        rows: Cells in the order of the headings.
        numbers: Headings of columns that are aligned to the right.
        in_pieces: Whether to cut a table that is too wide, rather than to write paragraphs.
    """
    widths = [
        max([cell_len(name), *(cell_len(row[place]) for row in rows)])
        for place, name in enumerate(headings)
    ]
    room = fixed_width()
    if room is None or _total(widths) <= room:
        _print_piece(headings, rows, numbers, _total(widths))
        return
    pieces = _cut(widths, room) if in_pieces else None
    if pieces is None:
        _print_paragraphs(headings, rows, room)
        return
    for number, places in enumerate(pieces):
        if number:
            print()
        cut = [[row[place] for place in places] for row in rows]
        _print_piece([headings[place] for place in places], cut, numbers, room)


def print_facts(facts: Sequence[tuple[str, str | Sequence[str]]]) -> None:
    """Print names with their values; a list of values is broken between two of them."""
    room = fixed_width()
    margin = max(cell_len(name) for name, _ in facts) + GAP
    for name, value in facts:
        items = [value] if isinstance(value, str) else list(value)
        first, *others = _flow(items, None if room is None else room - margin)
        _print_line(f"{name:<{margin}}{first}")
        for line in others:
            _print_line(f"{'':{margin}}{line}")


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _cut(widths: Sequence[int], room: int) -> list[list[int]] | None:
    """Return the columns of each piece; None where not even two columns fit side by side."""
    pieces, piece = [], [0]
    for place in range(1, len(widths)):
        if _total([widths[column] for column in [*piece, place]]) > room:
            if len(piece) == 1:
                return None
            pieces.append(piece)
            piece = [0]
        piece.append(place)
    return [*pieces, piece] if _total([widths[column] for column in piece]) <= room else None


def _print_piece(headings: Sequence[str], rows: Rows, numbers: Collection[str], width: int) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name in headings:
        table.add_column(name, no_wrap=True, justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = make_console(width=width)
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        print(line.rstrip())


def _print_paragraphs(headings: Sequence[str], rows: Rows, room: int) -> None:
    for row in rows:
        _print_line(row[0], bold=True)
        pairs = zip(headings[1:], row[1:], strict=True)
        for line in _flow(
            [f"{name} {cell.strip()}" for name, cell in pairs], room - len(INDENT), "; "
        ):
            _print_line(INDENT + line)


def _flow(items: Sequence[str], room: int | None, mark: str = ", ") -> list[str]:
    """Join items into lines; only an item that is longer than a line exceeds it."""
    lines = [""]
    for number, item in enumerate(items):
        piece = item + (mark.rstrip() if number < len(items) - 1 else "")
        joined = f"{lines[-1]} {piece}" if lines[-1] else piece
        if lines[-1] and room is not None and cell_len(joined) > room:
            lines.append(piece)
        else:
            lines[-1] = joined
    return lines


def _print_line(line: str, bold: bool = False) -> None:
    """Print a line as long as it is; a terminal wraps it, and a copy of it is still whole."""
    make_console().print(Text(line, style="bold" if bold else ""), soft_wrap=True)
