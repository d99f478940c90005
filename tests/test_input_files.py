"""Only regular files are read, whatever their name says."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from attention_atlas.data.audio.headers import check_header as check_sound
from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.data.image.reading import check_header as check_image
from attention_atlas.data.image.reading import read_image
from attention_atlas.data.tables import read_table
from attention_atlas.data.user_inputs import collect_inputs
from attention_atlas.errors import InputError
from attention_atlas.input_files import read_regular

SOURCE = ImageSource(ImageOptions(name="image_folder"))
READERS: dict[str, Callable[[Path], object]] = {
    "a": read_regular,
    "b.csv": read_table,
    "c.txt": lambda path: collect_inputs("text", [str(path)], list),
    "d.png": lambda path: read_image(path, SOURCE),
    "e.png": check_image,
    "f.wav": check_sound,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("special", ["pipe", "/dev/zero", "/dev/tty"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str, special: str) -> None:
    path = tmp_path / name
    if special == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(special)
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        READERS[name](path)


def test_a_regular_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link") == b"content"


@pytest.mark.parametrize(("name", "reason"), [("gone", "does not exist"), ("", "a regular file")])
def test_what_is_not_there_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_regular(tmp_path / name)
