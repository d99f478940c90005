"""Pictures of 1 to 32 bits come in the right range, or are refused with the range found."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.data.image.reading import read_image
from attention_atlas.errors import InputError

SIDE = 8
GREY = ImageSource(ImageOptions(name="image_folder", image_size=SIDE, channels=1))
COLOUR = ImageSource(ImageOptions(name="image_folder", image_size=SIDE, channels=3))
RAMP = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)
EXPECTED = (255 * RAMP).round()

LOW, HIGH, OLD_HIGH, PHOTOMETRIC = 340, 341, 281, 262
SHORT, INT, FLOAT, DOUBLE = 3, 4, 11, 12
TYPES = {SHORT: "H", INT: "I", 8: "h", 9: "i", FLOAT: "f", DOUBLE: "d"}


def write_tiff(path: Path, values: np.ndarray, **changes: tuple[int, list[float]]) -> Path:
    """Write a TIFF by hand: Pillow writes few of the kinds that it reads."""
    height, width = values.shape[:2]
    samples = values.shape[2] if values.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags: dict[int, tuple[int, list]] = {
        256: (INT, [width]),
        257: (INT, [height]),
        258: (SHORT, [8 * values.dtype.itemsize] * samples),
        259: (SHORT, [1]),
        PHOTOMETRIC: (SHORT, [1 if samples == 1 else 2]),
        273: (INT, [0]),
        277: (SHORT, [samples]),
        278: (INT, [height]),
        279: (INT, [values.nbytes]),
        339: (SHORT, [kind] * samples),
    }
    tags |= {int(name[1:]): tag for name, tag in changes.items()}
    position = 8 + 2 + 12 * len(tags) + 4
    extra = b""
    entries = []
    for number, (form, numbers) in sorted(tags.items()):
        content = struct.pack(f"<{len(numbers)}{TYPES[form]}", *numbers)
        if len(content) > 4:
            content, extra = struct.pack("<I", position + len(extra)), extra + content
        entries.append((number, form, len(numbers), content.ljust(4, b"\0")))
    start = struct.pack("<I", position + len(extra))
    table = b"".join(
        struct.pack("<HHI", number, form, count) + (start if number == 273 else content)
        for number, form, count, content in entries
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)
    path.write_bytes(head + extra + values.astype(values.dtype.newbyteorder("<")).tobytes())
    return path


def assert_ramp(path: Path, tolerance: float = 1) -> None:
    for source in (GREY, COLOUR):
        found = read_image(path, source).astype(float)
        assert np.abs(found - EXPECTED[..., None]).max() <= tolerance


def scaled(low: float, high: float, dtype: str) -> np.ndarray:
    values = low + RAMP * (high - low)
    return (values.round() if np.dtype(dtype).kind in "iu" else values).astype(dtype)


@pytest.mark.parametrize(("dtype", "high"), [("u1", 255), ("u2", 65535), ("u4", 2**32 - 1)])
def test_integers_are_scaled_by_their_bits(tmp_path: Path, dtype: str, high: int) -> None:
    assert_ramp(write_tiff(tmp_path / "a.tif", scaled(0, high, dtype)))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_packed_bits_are_scaled_by_their_number(tmp_path: Path, bits: int) -> None:
    values = (RAMP * (2**bits - 1)).round().astype(int)
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in values]
    order = np.dtype("u2") if bits == 16 else np.dtype("u1")
    size = 8 * order.itemsize
    packed = [[int(row[at : at + size], 2) for at in range(0, len(row), size)] for row in rows]
    path = write_tiff(
        tmp_path / "a.tif",
        np.array(packed, order),
        t256=(INT, [SIDE]),
        t258=(SHORT, [bits]),
    )
    expected = (255 * (values / (2**bits - 1))).round()
    assert np.abs(read_image(path, GREY)[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("high", [1.0, 255.0])
def test_floats_of_either_convention_are_read(tmp_path: Path, high: float) -> None:
    assert_ramp(write_tiff(tmp_path / "a.tif", scaled(0, high, "f4")))


@given(
    st.sampled_from(["u2", "i2", "u4", "i4", "f4"]),
    st.floats(-1000, 1000),
    st.floats(300, 60_000),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_declared_range_is_what_black_and_white_are(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, low: float, width: float, inverted: bool
) -> None:
    signed = np.dtype(dtype).kind != "u"
    low = round(low) if signed else abs(round(low))
    high = min(low + round(width), np.iinfo(dtype).max if dtype != "f4" else 10**6)
    path = write_tiff(
        tmp_path_factory.mktemp("declared") / "a.tif",
        scaled(high, low, dtype) if inverted else scaled(low, high, dtype),
        t340=(DOUBLE, [low]),
        t341=(DOUBLE, [high]),
        t262=(SHORT, [0 if inverted and dtype in ("u2", "f4") else 1]),
    )
    if inverted and dtype not in ("u2", "f4"):  # Pillow reads no such file
        assert read_image(path, GREY)[0, 0, 0] == 255
    else:
        assert_ramp(path)


def test_white_may_be_zero_in_deep_pictures_too(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", scaled(65535, 0, "u2"), t262=(SHORT, [0]))
    assert_ramp(path)


def test_twelve_bits_in_sixteen_are_read_where_they_are_declared(tmp_path: Path) -> None:
    assert_ramp(write_tiff(tmp_path / "a.tif", scaled(0, 4095, "u2"), t281=(SHORT, [4095])))


def as_png(values: np.ndarray, path: Path) -> None:
    Image.fromarray(values).save(path)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (scaled(0, 1.02, "f4"), "0 to 1.02, whose range is neither 0 to 1 nor 0 to 255"),
        (scaled(-0.1, 1, "f4"), "-0.1 to 1"),
        (scaled(0, 65535, "f4"), "0 to 65535"),
        (scaled(0, 0.01, "f4"), "0 to 0.01"),
        (scaled(0, 255, "i4"), "0 to 255, which are signed integers"),
        (scaled(-1000, 3000, "i2"), "-1000 to 3000, which are signed integers"),
        (scaled(-100, 100, "i1"), "-100 to 100, which are signed integers"),
        (scaled(0, 255, "u4"), "0 to 255, values in the lowest sixteenth"),
        (
            scaled(0, 4095, "u2"),
            "0 to 4095, values in the lowest sixteenth",
        ),
        (scaled(0, 255, "u2"), "0 to 255"),
        (np.stack([scaled(0, 4095, "u2")] * 3, axis=2), "the lowest sixteenth of the range"),
        (np.stack([scaled(0, 200, "u2")] * 3, axis=2), "the lowest sixteenth of the range"),
    ],
)
def test_an_unknown_range_is_refused_with_what_was_found(
    tmp_path: Path, values: np.ndarray, found: str
) -> None:
    path = write_tiff(tmp_path / "a.tif", values)
    with pytest.raises(InputError) as error:
        read_image(path, GREY)
    assert str(path) in str(error.value)
    assert found in str(error.value)
    assert "8 bits" in str(error.value)


def test_values_beyond_the_declared_range_are_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", scaled(0, 5000, "u2"), t341=(SHORT, [4095]))
    with pytest.raises(InputError, match="0 to 5000, some outside of the range from 0 to 4095"):
        read_image(path, GREY)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    values = scaled(0, 1, "f4")
    values[0, 0] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        read_image(write_tiff(tmp_path / "a.tif", values), GREY)


@pytest.mark.parametrize("dtype", ["u2", "u4", "f4"])
def test_a_black_picture_is_black(tmp_path: Path, dtype: str) -> None:
    path = write_tiff(tmp_path / "a.tif", np.zeros((SIDE, SIDE), dtype))
    assert not read_image(path, GREY).any()


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif"])
def test_twelve_bits_in_sixteen_are_refused_in_any_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(scaled(0, 4095, "u2")).save(path)
    with pytest.raises(InputError, match="0 to 4095"):
        read_image(path, GREY)


@pytest.mark.parametrize("high", [4095, 65535])
@pytest.mark.parametrize("declared", [4095, 65535])
def test_the_maximum_of_a_pixmap_is_its_white(tmp_path: Path, high: int, declared: int) -> None:
    values = np.stack([scaled(0, min(high, declared), ">u2")] * 3, axis=2)
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 8 8 %d\n" % declared + values.astype(">u2").tobytes())
    if high < declared:
        with pytest.raises(InputError, match="the lowest sixteenth of the range"):
            read_image(path, COLOUR)
    else:
        assert_ramp(path)


def test_a_transparent_value_of_sixteen_bits_is_white(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(scaled(0, 65535, "u2")).save(path, transparency=0)
    found = read_image(path, GREY)[..., 0]
    assert found[0, 0] == 255
    assert found[0, 1] == EXPECTED[0, 1]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_mode_gives_its_colours(tmp_path: Path, mode: str, suffix: str) -> None:
    if suffix == "png" and mode in ("CMYK", "YCbCr"):
        pytest.skip("PNG has no such mode")
    grey = Image.fromarray((RAMP > 0.5).astype(np.uint8) * 255)
    path = tmp_path / f"a.{suffix}"
    grey.convert("RGB").convert(mode).save(path)
    assert np.abs(read_image(path, COLOUR).astype(int) - np.asarray(grey)[..., None]).max() <= 1
