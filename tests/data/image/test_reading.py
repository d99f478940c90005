"""Image files of all kinds become small arrays of one shape."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.data.image.reading import read_image
from attention_atlas.errors import InputError

GREY = ImageSource(ImageOptions(name="image_folder", image_size=8, channels=1))
COLOUR = ImageSource(ImageOptions(name="image_folder", image_size=8, channels=3))
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "pgm"])
def test_grey_pixels_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ramp.{suffix}"
    Image.fromarray(RAMP).save(path)
    assert np.array_equal(read_image(path, GREY)[..., 0], RAMP)
    assert np.array_equal(read_image(path, COLOUR), np.stack([RAMP] * 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(path)
    assert np.array_equal(read_image(path, GREY)[..., 0], RAMP)


@pytest.mark.parametrize("factor", [1.0, 1 / 255])
def test_float_images_are_read_from_either_range(tmp_path: Path, factor: float) -> None:
    path = tmp_path / "float.tiff"
    Image.fromarray(RAMP.astype(np.float32) * factor).save(path)
    assert np.array_equal(read_image(path, GREY)[..., 0], RAMP)


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = (255, 0, 0, 255)  # opaque red above, fully transparent black below
    path = tmp_path / "half.png"
    Image.fromarray(pixels).save(path)
    read = read_image(path, COLOUR)
    assert (read[:4] == (255, 0, 0)).all()
    assert (read[4:] == 255).all()


def test_a_palette_is_looked_up_and_its_transparent_colour_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat([[0, 1]], 4, axis=1).repeat(8, axis=0).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=0)
    assert (read_image(tmp_path / "opaque.png", COLOUR)[:, :4] == (10, 20, 30)).all()
    assert (read_image(tmp_path / "clear.png", COLOUR)[:, :4] == 255).all()
    assert (read_image(tmp_path / "clear.png", COLOUR)[:, 4:] == (200, 100, 50)).all()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see it upright
    path = tmp_path / "turned.png"
    Image.fromarray(RAMP).save(path, exif=exif)
    assert np.array_equal(read_image(path, GREY)[..., 0], np.rot90(RAMP, -1))


def test_another_shape_is_scaled_to_cover_the_square_and_cut_evenly(tmp_path: Path) -> None:
    wide = np.zeros((16, 64), np.uint8)
    wide[:, 24:40] = 255  # the square in the middle
    path = tmp_path / "wide.png"
    Image.fromarray(wide).save(path)
    assert (read_image(path, GREY)[:, 1:-1] > 200).all()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.png", b"", "empty file"),
        ("notes.txt", b"hello", "cannot be decoded"),
        ("fake.jpg", b"\xff\xd8\xff\xe0 no jpeg", "cannot be decoded"),
    ],
)
def test_a_file_that_is_no_image_is_named(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name} .*{reason}"):
        read_image(path, GREY)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=rf"cut\.{suffix} cannot be decoded"):
        read_image(path, GREY)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png", GREY)
