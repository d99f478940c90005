"""Draw a map in a terminal: queries by keys, with their tokens on the axes."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from attention_atlas.analysis.colours import colour_of, palette_of
from attention_atlas.analysis.terminal import has_colours, shade
from attention_atlas.analysis.token_weights import darkest_of, name_of

LABEL = 14  # columns of the token of a row
HEADER = 8  # lines of the token of a column
CELL = 2  # columns of a weight, so that it is about square
MAX_ROWS = 60


def draw_map(
    console: Console,
    weights: npt.NDArray[np.floating],
    query_tokens: Sequence[str],
    key_tokens: Sequence[str],
    signed: bool,
) -> Iterator[Text]:
    """Yield the lines of a map [Q, K].

    If there are more tokens than fit, neighbours share a cell, which has their largest weight, so
    that no bright one disappears; it is named after the first, with the number of the others.
    """
    columns = max((console.width - LABEL - 1) // CELL, 1)
    rows_of, columns_of = _parts(len(query_tokens), MAX_ROWS), _parts(len(key_tokens), columns)
    cells = np.array([[_largest(weights[np.ix_(r, c)]) for c in columns_of] for r in rows_of])
    yield from _header([_name(key_tokens, part) for part in columns_of])
    darkest = darkest_of(weights)
    colours = has_colours(console)
    for part, row in zip(rows_of, cells.tolist(), strict=True):
        line = Text(f"{_fit(_name(query_tokens, part), LABEL):>{LABEL}} ")
        for value in row:
            line.append_text(_cell(value / darkest, signed, colours))
        yield line
    if len(columns_of) < len(key_tokens) or len(rows_of) < len(query_tokens):
        yield Text("each cell is the largest of several weights, so that the map fits")


def _parts(count: int, max_parts: int) -> list[npt.NDArray[np.intp]]:
    return np.array_split(np.arange(count), min(count, max_parts))


def _largest(weights: npt.NDArray[np.floating]) -> float:
    """Return the weight of the largest size, with its sign."""
    return float(weights.flat[int(np.abs(weights).argmax())])


def _name(tokens: Sequence[str], part: npt.NDArray[np.intp]) -> str:
    name = name_of(tokens[part[0]])
    return name if len(part) == 1 else f"{name} +{len(part) - 1}"


def _fit(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _header(names: list[str]) -> Iterator[Text]:
    """Yield the names of the columns, written downwards."""
    fitted = [_fit(name, HEADER) for name in names]
    height = max(map(len, fitted))
    for row in range(height):
        letters = (f"{name.rjust(height)[row]:<{CELL}}" for name in fitted)
        yield Text(f"{'':{LABEL}} {''.join(letters)}")


def _cell(value: float, signed: bool, colours: bool) -> Text:
    if colours:
        paper = Color.from_rgb(*colour_of(value, palette_of(signed)))
        return Text(" " * CELL, Style(bgcolor=paper))
    return Text(CELL * shade(value))
