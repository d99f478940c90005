"""What inputs that are given by hand are taken for."""

import gzip
import os
from pathlib import Path

import pytest

from attention_atlas.data.listing import modality_of_data
from attention_atlas.data.user_inputs import collect_inputs
from attention_atlas.errors import InputError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["README.txt", "cat.png"], "image"),
        (["a/labels.csv", "a/low.wav", "notes.txt", "z.wav"], "audio"),
        (["1.txt", "2.txt", "figure.png"], "text"),
        ([".hidden.txt", ".hidden.csv", ".hidden.png", "reviews.tsv"], "text"),
    ],
)
def test_a_folder_is_what_most_of_its_files_are(names, expected, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert modality_of_data(tmp_path) == expected


def test_bytes_that_are_not_text_are_reported() -> None:
    line = b"caf\xe9 great".decode("utf-8", "surrogateescape")
    for arguments, lines in (["-"], [line]), ([line], []):
        with pytest.raises(InputError, match=r"is not UTF-8: 'caf\\udce9 great'"):
            collect_inputs("text", arguments, lambda lines=lines: lines)


def test_a_file_whose_name_is_not_utf8_is_reported(tmp_path: Path) -> None:
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    with open(name, "wb"):
        pass
    for argument in (str(tmp_path), os.fsdecode(name)):
        with pytest.raises(InputError, match=r"caf\\udce9.png' is not UTF-8; rename it"):
            collect_inputs("image", [argument], list)


def test_a_compressed_table_in_a_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv.gz").write_bytes(gzip.compress(b"text\ngood\nbad\n"))
    inputs = collect_inputs("text", [str(tmp_path)], list)
    assert [each.content for each in inputs] == ["good", "bad"]
    assert modality_of_data(tmp_path) == "text"
