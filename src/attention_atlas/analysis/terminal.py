"""Draw a sample with the weights of its tokens in a terminal, with colours or without."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.console import Console, Group
from rich.style import Style
from rich.table import Table
from rich.text import Text

from attention_atlas.analysis.colours import (
    GREYS,
    Palette,
    colour_of,
    colours_of,
    is_dark,
    palette_of,
)
from attention_atlas.analysis.token_weights import (
    View,
    name_of,
    over_image,
    over_spectrogram,
    printable,
    resample,
    shown_text,
)
from attention_atlas.atlas import AtlasAttributes, Sample
from attention_atlas.console import one_line

SHADES = " ░▒▓█"
NEGATIVE_SHADES = " .-=#"
SIGNS_IN_COLOURS = "positive weights are blue, negative ones red"
SIGNS_IN_SHADES = f"positive weights are{SHADES}, negative ones{NEGATIVE_SHADES}"
HALF_BLOCK = "▀"
QUERY_COLOUR, QUERY_MARK = (255, 0, 255), "+"  # neither in a palette nor in the shades
QUERY_IN_A_TEXT = ("»", "«")
LARGEST_HEIGHT = 24  # lines of one picture
TOP_TOKENS = 10
BAR_WIDTH = 20


def heading(sample: Sample) -> Iterator[Text]:
    """Return the name of a sample and its classes."""
    yield Text(one_line(sample.sample_id), style="bold")
    yield Text(sample.verdict)


def has_colours(console: Console) -> bool:
    """Whether a terminal has colours."""
    return not console.no_color and console.color_system is not None


def draw_weights(
    console: Console, attributes: AtlasAttributes, sample: Sample, view: View
) -> Iterator[Group | Text | Table]:
    """Yield the description of a view, its picture and its top tokens."""
    yield Text(view.description)
    colours = has_colours(console)
    for note in view.notes:
        yield Text(note)
    if view.signed:
        yield Text(SIGNS_IN_COLOURS if colours else SIGNS_IN_SHADES)
    if view.query is not None:
        yield Text(_describe_query(attributes, sample, view.query, colours))
    yield Text()
    if attributes.token_layout == "character_span":
        yield _shaded_text(sample, view)
    elif attributes.token_layout == "patch_box":
        yield _image(console, sample, view, colours)
    else:
        yield from _spectrogram(console, attributes, sample, view, colours)
    yield Text()
    yield _top_tokens(sample, view)


def _image(console: Console, sample: Sample, view: View, colours: bool) -> Table:
    """Draw the image, and beside it the weights."""
    grey = sample.image.mean(axis=2) / 255
    heat = over_image(sample, view.weights) / view.darkest
    width = min(heat.shape[1], (console.width - 3) // 2, 2 * LARGEST_HEIGHT)
    height = max(round(width * heat.shape[0] / heat.shape[1]), 1)
    query = None if view.query is None else over_image(sample, _only(sample, view.query))
    image = _picture(grey, width, height, GREYS, colours, query)
    weights = _picture(heat, width, height, palette_of(view.signed), colours)
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row("image", "weights")
    table.add_row(Group(*image), Group(*weights))
    return table


def _describe_query(attributes: AtlasAttributes, sample: Sample, query: int, colours: bool) -> str:
    token = printable(sample.tokens[query])
    if not sample.stands_in_input[query]:
        name = token or "a token"
        return f"the query is {name}, which represents no part of the input"
    if attributes.token_layout == "character_span":
        return f"the query is marked: {token.join(QUERY_IN_A_TEXT)}"
    return f"the query is framed{' in magenta' if colours else f' by {QUERY_MARK}'}: {token}"


def _only(sample: Sample, token: int) -> npt.NDArray[np.float64]:
    """Return weights [K] that are 1 for one token and 0 for all others."""
    weights = np.zeros(sample.length)
    weights[token] = 1
    return weights


def _shaded_text(sample: Sample, view: View) -> Text:
    text = Text()
    for piece, token in shown_text(sample):
        if token is None:
            text.append(piece)
            continue
        colour = colour_of(float(view.weights[token]) / view.darkest, palette_of(view.signed))
        ink = "bright_white" if is_dark(colour) else "black"
        before, behind = QUERY_IN_A_TEXT if token == view.query else ("", "")
        text.append(before)
        text.append(piece, Style(color=ink, bgcolor=Color.from_rgb(*colour)))
        text.append(behind)
    return text


def _spectrogram(
    console: Console, attributes: AtlasAttributes, sample: Sample, view: View, colours: bool
) -> Iterator[Text]:
    """Draw the spectrogram and below it the weights, over axes in seconds and hertz."""
    spectrogram = sample.spectrogram.astype(np.float64)
    spectrogram = (spectrogram - spectrogram.min()) / (np.ptp(spectrogram) or 1.0)
    heat = over_spectrogram(sample, view.weights, attributes) / view.darkest
    bands, frames = spectrogram.shape
    margin = 9
    width = min(frames, console.width - margin)
    height = min(bands, LARGEST_HEIGHT)
    frequencies = np.asarray(attributes.mel_frequencies)
    query = None
    if view.query is not None:
        query = over_spectrogram(sample, _only(sample, view.query), attributes)[::-1]
    for name, values, palette, framed in (
        ("spectrogram", spectrogram, GREYS, query),
        ("weights", heat, palette_of(view.signed), None),
    ):
        lines = _picture(values[::-1], width, height, palette, colours, framed)
        yield Text(f"{'':{margin}}{name}")
        for number, line in enumerate(lines):
            band = (1 - (number + 0.5) / len(lines)) * (bands - 1)
            hertz = np.interp(band, np.arange(bands), frequencies)
            yield Text(f"{hertz:5.0f} Hz " if number % 3 == 0 else " " * margin) + line
    seconds = f"{frames * (attributes.frame_seconds or 0.0):.2f} s"
    yield Text(f"{'':{margin}}{'0 s':<{max(width - len(seconds), 4)}}{seconds}")


def _picture(
    values: npt.NDArray[Any],
    width: int,
    height: int,
    palette: Palette,
    colours: bool,
    framed: npt.NDArray[Any] | None = None,
) -> list[Text]:
    """Return lines of half blocks, two pixels each, or of shades without colours.

    Values [rows, columns] are from 0 to 1, signed weights from -1 to 1; NaN stays blank. The width
    is in columns, the height in pixels. An area where `framed` [rows, columns] is above zero gets a
    frame. `colours` says whether the terminal has any.
    """
    pixels = resample(values, height + height % 2, width)
    frame = _frame(framed, *pixels.shape)
    if colours:
        rgb = colours_of(pixels, palette)
        rgb[frame] = QUERY_COLOUR
        return _half_blocks(rgb, np.isnan(pixels) & ~frame)
    lines = []
    means = np.nan_to_num(pixels.reshape(-1, 2, width)).mean(axis=1)
    marked = frame[::2] | frame[1::2]
    for values_of_line, marks in zip(means.tolist(), marked.tolist(), strict=True):
        lines.append(Text("".join(map(shade, values_of_line, marks))))
    return lines


def _half_blocks(rgb: npt.NDArray[np.uint8], blank: npt.NDArray[np.bool_]) -> list[Text]:
    """Return pixels [rows, columns, 3] as lines of half blocks, two rows each."""
    lines = []
    for row in range(0, len(rgb), 2):
        line = Text()
        for column in range(rgb.shape[1]):
            ink, paper = (
                None if blank[pixel, column] else Color.from_rgb(*rgb[pixel, column].tolist())
                for pixel in (row, row + 1)
            )
            line.append(HALF_BLOCK if ink else " ", Style(color=ink, bgcolor=paper))
        lines.append(line)
    return lines


def shade(value: float, is_marked: bool = False) -> str:
    """Return the sign for a weight from 0 to 1, or a signed one from -1 to 1, without colours."""
    if is_marked:
        return QUERY_MARK
    shades = NEGATIVE_SHADES if value < 0 else SHADES
    return shades[min(int(abs(value) * len(shades)), len(shades) - 1)]


def _frame(area: npt.NDArray[Any] | None, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return which pixels of a picture are the border of an area."""
    if area is None:
        return np.zeros((height, width), dtype=bool)
    inside = resample(np.nan_to_num(area), height, width) > 0.0
    around = np.pad(inside, 1)
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    is_border: npt.NDArray[np.bool_] = inside & ~np.logical_and.reduce(neighbours)
    return is_border


def _top_tokens(sample: Sample, view: View) -> Table:
    """List the tokens with the largest weights, of either sign; readable without colours."""
    table = Table(box=None, pad_edge=False, show_header=True, header_style="")
    table.add_column("weight", justify="right")
    table.add_column("")
    table.add_column("token")
    table.add_column("represents")
    tokens, sizes = sample.tokens, np.abs(view.weights)
    highest = float(sizes.max(initial=0.0)) or 1.0
    for token in np.argsort(-sizes, kind="stable")[:TOP_TOKENS].tolist():
        weight = float(view.weights[token])
        block, style = (SHADES[-1], "") if weight > 0 else (NEGATIVE_SHADES[-1], "red")
        bar = Text(block * round(BAR_WIDTH * abs(weight) / highest), style)
        meaning = Text(name_of(tokens[token]))
        table.add_row(f"{weight:.4f}", bar, str(token), meaning)
    return table
