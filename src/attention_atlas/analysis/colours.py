"""Colours of weights without matplotlib, for the terminal and web pages."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Palette(NamedTuple):
    """Colours of values from `lowest` to 1, evenly spaced."""

    lowest: float
    colours: tuple[str, ...]


# The colours of the figures, ColorBrewer's YlGnBu and RdBu: zero is light, much weight is dark.
YLGNBU = ("ffffd9", "edf8b1", "c7e9b4", "7fcdbb", "41b6c4", "1d91c0", "225ea8", "253494", "081d58")
RDBU = ("b2182b", "d6604d", "f4a582", "fddbc7", "f7f7f7", "d1e5f0", "92c5de", "4393c3", "2166ac")
GREYS = Palette(0.0, ("000000", "ffffff"))
LIGHT_TO_DARK = Palette(0.0, ("ffffff", "000000"))


def palette_of(signed: bool) -> Palette:
    """Return the palette of weights."""
    return Palette(-1.0, RDBU) if signed else Palette(0.0, YLGNBU)


def colours_of(values: npt.NDArray[Any], palette: Palette) -> npt.NDArray[np.uint8]:
    """Return the colours of values [...] as red, green, blue [..., 3]; that of NaN is arbitrary."""
    known = np.array([list(bytes.fromhex(colour)) for colour in palette.colours], dtype=float)
    fractions = (np.nan_to_num(values.astype(float)) - palette.lowest) / (1 - palette.lowest)
    positions = np.clip(fractions, 0, 1) * (len(known) - 1)
    channels = [np.interp(positions, np.arange(len(known)), known[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def colour_of(value: float, palette: Palette) -> tuple[int, int, int]:
    """Return the colour of one value."""
    red, green, blue = colours_of(np.asarray(value), palette).tolist()
    return red, green, blue


def is_dark(colour: tuple[int, int, int]) -> bool:
    """Return whether light text is more readable on this colour than dark text."""
    return lightness(colour) <= 127


def lightness(colour: tuple[float, ...]) -> float:
    """Return the lightness of a colour that begins with red, green, blue, in their unit."""
    red, green, blue = colour[:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue
