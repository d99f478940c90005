"""Draw a text whose tokens are shaded by their weights."""

import textwrap

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from rich.cells import cell_len

from attention_atlas.analysis.colours import lightness
from attention_atlas.analysis.figures.style import FRAME, scale_of_view
from attention_atlas.analysis.token_weights import View, shown_text
from attention_atlas.atlas import Sample
from attention_atlas.errors import counted

TEXT_SIZE = 10.0  # points
LINE_HEIGHT = 0.025  # inches for each point of the letters
LETTER_WIDTH = 0.62  # of its size

Pieces = list[tuple[str, int | None]]


def draw_text(
    axes: Axes, sample: Sample, view: View, columns: int, room: int, size: float = TEXT_SIZE
) -> ScalarMappable:
    """Draw the text of a sample and return what a colour bar needs.

    The axes are `columns` letters wide and `room` lines high; a longer text ends in a line that
    says how many tokens are shown. `size` of the letters is in points.
    """
    scale = scale_of_view(view)
    lines = cut_lines(break_lines(pieces_of(sample), columns), room)
    for row, line in enumerate(lines):
        column = 0
        for piece, token in line:
            width, ink = cell_len(piece), "black"
            if token is not None:
                background = scale["cmap"](scale["norm"](view.weights[token]))
                ink = "white" if lightness(background) < 0.5 else "black"
                axes.barh(row, width, left=column, height=0.92, color=background)
            if token is not None and token == view.query:
                for line_style in FRAME:
                    axes.barh(
                        row,
                        width - 0.2,
                        left=column + 0.1,
                        height=0.84,
                        fill=False,
                        edgecolor=line_style["color"],
                        linewidth=line_style["linewidth"],
                    )
            axes.text(
                column + width / 2,
                row,
                piece.replace("$", r"\$"),
                color=ink,
                ha="center",
                va="center",
                family="monospace",
                fontsize=size,
            )
            column += width
    axes.set_xlim(0, columns)
    margin = (room - len(lines)) / 2  # lines above and below, which centre the text
    axes.set_ylim(len(lines) - 0.5 + margin, -0.5 - margin)
    axes.set_axis_off()
    return ScalarMappable(**scale)


def letters_per_line(width: float, size: float = TEXT_SIZE) -> int:
    """Return how many letters of the fixed-width font fit these inches."""
    return int(width * 72 / (LETTER_WIDTH * size))


def width_of_lines(lines: list[Pieces], size: float = TEXT_SIZE) -> float:
    """Return the inches that the longest line needs, with room for one letter more."""
    longest = max(sum(cell_len(piece) for piece, _ in line) for line in lines)
    return (longest + 1) * LETTER_WIDTH * size / 72


def lines_per_panel(height: float, size: float = TEXT_SIZE) -> int:
    """Return how many lines fit these inches."""
    return max(int(height / (LINE_HEIGHT * size) + 1e-6), 1)  # so many lines as made the height


def pieces_of(sample: Sample) -> Pieces:
    """Return the pieces of a text, and at its end a remark if the model did not read all of it."""
    pieces = shown_text(sample)
    end = int(sample.boxes[:, 1].max(initial=0))
    if pieces and sample.text[end:].strip():
        read = counted(_tokens(pieces), "token")
        pieces.append((f" … (the text continues; the model read {read})", None))
    return pieces


def cut_lines(lines: list[Pieces], room: int) -> list[Pieces]:
    """Return all lines if they fit; else the first of them, and one that says what they hold."""
    if len(lines) <= room:
        return lines
    shown_lines = lines[: room - 1]
    shown, every = (
        _tokens([piece for line in some for piece in line]) for some in (shown_lines, lines)
    )
    return [*shown_lines, [(f"… (first {shown} of {every} tokens)", None)]]


def _tokens(pieces: Pieces) -> int:
    return len({token for _, token in pieces if token is not None})


def break_lines(pieces: Pieces, columns: int) -> list[Pieces]:
    """Break pieces into lines of at most so many columns; a piece longer than a line is cut."""
    lines: list[Pieces] = [[]]
    used = 0
    for piece, token in pieces:
        for part in textwrap.wrap(piece, columns, drop_whitespace=False) or [piece]:
            if used and used + cell_len(part) > columns:
                lines.append([])
                used = 0
            if used or not part.isspace():
                lines[-1].append((part, token))
                used += cell_len(part)
    return lines
