"""Sample values of any number of bits, brought to 8 bits by the range that their file declares."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from attention_atlas.errors import InputError

BITS, PHOTOMETRIC, FORMAT = 258, 262, 339  # tags of TIFF
LOWEST, HIGHEST = (340, 280), (341, 281)  # SMinSampleValue and MinSampleValue, and so on
WHITE_IS_ZERO, SIGNED = 0, 2

USED = 1 / 16
"""Part of a range that values must reach: below it, they are those of fewer bits, and all dark."""


@dataclass(frozen=True)
class SampleFormat:
    """Declaration of sample values in the header of a file.

    Attributes:
        bits: Bits of each sample.
        is_signed: Whether they are signed integers.
        declared: The values of black and white, if tags name them.
        is_inverted: Whether the lowest value is white, which Pillow heeds for 8 bits alone.
    """

    bits: int
    is_signed: bool = False
    declared: tuple[float, float] | None = None
    is_inverted: bool = False


def sample_format(image: Image.Image) -> SampleFormat:
    """Return the format of an image that is open but not loaded yet."""
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None:
        deep = image.mode in ("I", "F") or image.mode.startswith("I;16") or _is_deep_colour(image)
        return SampleFormat(16 if deep else 8)
    is_signed = SIGNED in _numbers(tags, (FORMAT,))
    low, high = _numbers(tags, LOWEST), _numbers(tags, HIGHEST)
    declared = None
    if high and (low or not is_signed):
        black, white = float(min(low, default=0)), float(max(high))
        declared = (black, white) if -np.inf < black < white < np.inf else None
    bits = int(max(_numbers(tags, (BITS,)), default=1))
    return SampleFormat(bits, is_signed, declared, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)


def eight_bits(image: Image.Image, declares: SampleFormat) -> Image.Image:
    """Return a loaded image with samples of 8 bits.

    Integers are scaled by their number of bits, and floats from 0 to 1 or 0 to 255, unless the file
    declares another range.

    Raises:
        InputError: Values lie outside the range, or the range is not known. The message continues a
            sentence that names the file.
    """
    is_integer = image.mode == "I" or image.mode.startswith("I;16")
    if not (is_integer or image.mode == "F" or (declares.is_signed and image.mode == "L")):
        if declares.bits > 8:
            _check_colour(image, declares.bits)
        return image
    values = np.asarray(image)
    if declares.is_signed and image.mode == "L":
        values = values.view(np.int8)
    elif is_integer and declares.bits == 32 and not declares.is_signed:
        values = values.view(np.uint32)
    if not np.isfinite(values).all():
        raise InputError("holds values that are not numbers (NaN or infinity); replace them.")
    low, high = declares.declared or _range(values, declares, is_float=image.mode == "F")
    if values.min() < low or values.max() > high:
        raise _outside(values, f"some outside of the range from {low:g} to {high:g}")
    scaled = (values - np.float64(low)) * (255 / (high - low))
    if declares.is_inverted:
        scaled = 255 - scaled
    pixels = scaled.round().astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels[values == transparent] = 255
    return Image.fromarray(pixels)


def _range(values: np.ndarray, declares: SampleFormat, is_float: bool) -> tuple[float, float]:
    """Return the values of black and white of a file that names none."""
    possible: tuple[float, ...]
    if is_float:
        possible, names = (1.0, 255.0), "whose range is neither 0 to 1 nor 0 to 255"
    elif declares.is_signed:
        possible, names = (), "which are signed integers whose range is not known"
    else:
        possible, names = (2.0**declares.bits - 1,), _dark(declares.bits)
    for high in possible:
        if values.min() >= 0 and (USED * high <= values.max() <= high or values.max() == 0):
            return 0.0, high
    raise _outside(values, names)


def _check_colour(image: Image.Image, bits: int) -> None:
    """Check the range of colours, of which Pillow returns the upper 8 bits alone."""
    colours = image.convert(image.mode.rstrip("A")) if image.mode in ("LA", "RGBA") else image
    if np.asarray(colours).max() <= USED * 256:
        raise InputError(f"holds {_dark(bits)}; {REMEDY}")


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether the decoder was told to drop bits: of a PNG by its mode, of a PPM by its maximum."""
    arguments = [tile.args for tile in getattr(image, "tile", [])]
    if image.format == "PPM":
        return any(isinstance(each[-1], int) and each[-1] > 255 for each in arguments)
    return any(";16" in str(each) for each in arguments)


REMEDY = (
    "scale them and save the picture with 8 bits, or as a TIFF file that declares their range "
    "(SMinSampleValue, SMaxSampleValue)."
)


def _dark(bits: int) -> str:
    return f"values in the lowest sixteenth of the range of {bits} bits only"


def _outside(values: np.ndarray, problem: str) -> InputError:
    found = f"{float(values.min()):.6g} to {float(values.max()):.6g}"
    return InputError(f"holds values from {found}, {problem}; {REMEDY}")


def _numbers(tags: Any, names: tuple[int, ...]) -> list[float]:
    """Return the numbers of the first tag that is there."""
    for name in names:
        found = tags.get(name)
        if found is not None:
            return list(found) if isinstance(found, tuple) else [found]
    return []
