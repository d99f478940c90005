"""CSV and TSV files: what can be read, and the sentence for what cannot."""

from pathlib import Path

import pytest

from attention_atlas.data.tables import Table, read_table
from attention_atlas.errors import InputError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_quoted_fields_may_hold_delimiters_quotes_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one, ""two""\nthree",1\nfour,0\n')
    table = read_table(path)
    assert table == Table(
        path, ["text", "label"], [['one, "two"\nthree', "1"], ["four", "0"]], [2, 4]
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_editors_do(tmp_path: Path, end: str) -> None:
    rows = ["text,label", '"a', 'b",1', "", "odd\u2028line,0", " ,1"]
    with pytest.raises(InputError, match=r"a\.csv, line 6: the column 'text' is empty"):
        read_table(write(tmp_path / "a.csv", end.join(rows))).column("text")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\na,1\n"),
        ("a.csv", "text;label\na;1\n"),
        ("a.csv", "text\tlabel\na\t1\n"),
        ("a.tsv", "text\tlabel\na\t1\n"),
        ("a.csv", "\ufefftext,label\r\na,1"),
    ],
)
def test_delimiter_and_byte_order_mark_are_found(tmp_path: Path, name: str, content: str) -> None:
    table = read_table(write(tmp_path / name, content))
    assert (table.columns, table.rows) == (["text", "label"], [["a", "1"]])


def test_quotation_marks_may_be_plain_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", 'sentence\tlabel\n"never closed\t0\nnext\t1\n')
    assert read_table(path, quoted=False).rows == [['"never closed', "0"], ["next", "1"]]
    with pytest.raises(InputError, match=r"train\.tsv, line 2: .*data\.quoted=false"):
        read_table(path)


def test_a_long_field_is_read(tmp_path: Path) -> None:
    long = "word " * 50_000
    assert read_table(write(tmp_path / "a.csv", f"text,label\n{long},1\n")).rows[0][0] == long


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty: expected a header and at least one row"),
        ("text,label\n\n", "a header alone: expected a header and at least one row"),
        ("text,label\na,1\nb, c,0\n", "line 3: 3 fields where the header has 2"),
        (b"text,label\nfine,1\n\r\nca\xe9,0\n", "line 4: not UTF-8 text .byte 0xe9."),
        (b'text,label\n"fine\nca\xe9",0\n', "line 3: not UTF-8 text"),
    ],
)
def test_bad_content_is_reported_with_the_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path / "a.csv", content))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read_table(tmp_path)


def test_a_missing_column_is_reported_with_the_closest_one(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.csv", "review,score\na,1\n"))
    with pytest.raises(
        InputError, match=r"no column 'reviews' \(chosen by data.text_column\).*mean 'review'\?"
    ):
        table.column("reviews", "data.text_column")
