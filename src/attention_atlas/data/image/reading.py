"""Decoding of image files of any format to arrays of one shape."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from attention_atlas.data.image.options import ImageSource
from attention_atlas.data.image.sample_values import eight_bits, sample_format
from attention_atlas.errors import InputError
from attention_atlas.input_files import open_regular

# Pillow warns of pictures half as large as those that it refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: Path, source: ImageSource) -> np.ndarray:
    """Decode an image file.

    The image is rotated by its EXIF orientation, transparent parts become white, values of other
    than 8 bits are scaled (see `eight_bits`), and an animation gives its first frame. By default
    the image is resized to cover a square of `image_size`, and cropped at its centre.

    Returns:
        uint8 [height, width, channels].

    Raises:
        InputError: The file cannot be read or decoded, or the range of its values is not known.
    """
    options = source.options
    with open_regular(path) as file:
        try:
            picture = _decode(file).convert("L" if options.channels == 1 else "RGB")
        except InputError as error:
            raise InputError(f"{path} {error}") from None
        except Image.DecompressionBombError as error:
            raise InputError(_too_large(path)) from error
        except Exception as error:  # decoders raise any kind of exception for a broken file
            raise InputError(_unreadable(path)) from error
    if source.fit is not None:
        fitted: np.ndarray = source.fit(picture)
        return fitted
    size = (options.image_size, options.image_size)
    if picture.size != size:
        picture = ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels.reshape(*size, options.channels)


def check_header(path: Path) -> None:
    """Check that a file is an image, without decoding it.

    Raises:
        InputError: It is not an image, or cannot be read.
    """
    with open_regular(path) as file:
        try:
            Image.open(file).close()
        except Image.DecompressionBombError as error:
            raise InputError(_too_large(path)) from error
        except Exception as error:
            raise InputError(_unreadable(path)) from error


def _decode(file: BinaryIO) -> Image.Image:
    with Image.open(file) as image:
        declares = sample_format(image)
        image.load()
        return _opaque(eight_bits(ImageOps.exif_transpose(image), declares))


def _too_large(path: Path) -> str:
    return f"{path} has more than 178 million pixels; make it smaller."


def _unreadable(path: Path) -> str:
    if path.stat().st_size == 0:
        return f"{path} is an empty file; remove it or replace it by an image."
    return (
        f"{path} cannot be decoded as an image; "
        "remove it or replace it by a whole PNG, JPEG or other image file."
    )


def _opaque(image: Image.Image) -> Image.Image:
    """Composite an image with transparency over white."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
