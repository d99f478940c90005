"""Lines and characters are those of the file, wherever a text comes from."""

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_atlas.cli.inputs import _read_lines
from attention_atlas.data.tables import read_table
from attention_atlas.data.text_files import clean_text
from attention_atlas.data.user_inputs import collect_inputs
from attention_atlas.errors import InputError

RARE = "\u2028\u2029\x85\x0c\x0b\x1c\x1d\x1e"
"""What `str.splitlines` splits at, and no editor."""

WORDS = st.text(st.sampled_from("ab é👍" + RARE), min_size=1).map(lambda text: f"a{text}b")


def contents(arguments: list[str], lines: list[str] | None = None) -> list[object]:
    return [each.content for each in collect_inputs("text", arguments, lambda: lines or [])]


def read_from(content: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return _read_lines()


@given(st.lists(WORDS, min_size=1), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
@settings(max_examples=50, deadline=None)
def test_lines_are_those_of_the_file_and_of_standard_input(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, marked: bool
) -> None:
    content = end.join(lines).encode("utf-8-sig" if marked else "utf-8")
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes(content)
    expected = [clean_text(line) for line in lines]
    assert contents([str(path)]) == expected
    with pytest.MonkeyPatch.context() as patch:
        assert contents(["-"], read_from(content, patch)) == expected


@pytest.mark.parametrize("character", ["\0", "\x08", "\x1b", "\x7f", "\uffff"])
def test_control_characters_are_replaced_at_every_entrance(
    character: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"good{character}film"
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.csv").write_text(f"text,label\n{text},1{character}\n")
    expected = ["good\N{REPLACEMENT CHARACTER}film"]
    assert contents([str(tmp_path / "a.txt")]) == expected
    assert contents([str(tmp_path / "a.csv")]) == expected
    assert contents(["-"], read_from(text.encode(), monkeypatch)) == expected
    assert contents([text]) == expected
    assert read_table(tmp_path / "a.csv").column("label") == ["1\N{REPLACEMENT CHARACTER}"]


@given(st.text())
def test_cleaning_moves_no_character(text: str) -> None:
    cleaned = clean_text(text)
    assert len(cleaned) == len(text)
    assert clean_text(cleaned) == cleaned


def test_a_text_too_long_for_a_tokenizer_is_refused(tmp_path: Path) -> None:
    long = "good film " * 300_000
    (tmp_path / "a.txt").write_text(long)
    for arguments, lines in ([str(tmp_path / "a.txt")], []), (["-"], [long]):
        with pytest.raises(InputError, match="a text of 3,000,000 characters"):
            contents(arguments, lines)


def test_standard_input_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_atlas.cli.inputs.MAX_INPUT", 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        read_from(b"a" * 101, monkeypatch)
