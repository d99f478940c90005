"""CSV and TSV files: what can be read, and the sentence for what cannot."""

import gzip
import os
from pathlib import Path

import pytest

from attention_atlas.data import text_files
from attention_atlas.data.file_types import is_table
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
        ("text,label\na,1\nb\n", "line 3: 1 field where the header has 2"),
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


ROWS = [['great, really; "wow"', "good"], ["dull\tand long", "bad"], [" one\ntwo", "good"]]


def as_csv(delimiter: str, blank: str = "", all_quoted: bool = True, end: str = "\n") -> str:
    def cell(text: str) -> str:
        plain = not all_quoted and not set(text) & set(',;\t"\n')
        return text if plain else '"' + text.replace('"', '""') + '"'

    return end.join((delimiter + blank).join(map(cell, row)) for row in [["text", "label"], *ROWS])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("all_quoted", [True, False])
@pytest.mark.parametrize("mark", ["", "sep={}\n"])
def test_the_form_is_told_from_the_content(
    tmp_path: Path, delimiter: str, blank: str, all_quoted: bool, mark: str
) -> None:
    if mark and blank:
        pytest.skip("Excel, which writes the mark, writes no blanks")
    content = mark.format(delimiter) + as_csv(delimiter, blank, all_quoted)
    table = read_table(write(tmp_path / "a.csv", content))
    assert table.columns == ["text", "label"]
    assert [[text, label.strip()] for text, label in table.rows] == ROWS
    assert table.lines[0] == (3 if mark else 2)


def test_a_comma_in_the_header_does_not_make_the_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text, in full, as typed;label\none;1\ntwo, or 2;0\n")
    assert read_table(path).rows == [["one", "1"], ["two, or 2", "0"]]


def test_a_blank_before_a_quotation_mark_of_the_text_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n" ""a"", ""b""",1\n plain,0\n')
    assert read_table(path).rows == [[' "a", "b"', "1"], [" plain", "0"]]


def test_repeated_columns_are_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label, text\na,1,b\n")
    with pytest.raises(InputError, match=r"a\.csv has two columns named 'text'"):
        read_table(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("compressed", [True, False])
def test_marks_and_compression_are_undone(tmp_path: Path, encoding: str, compressed: bool) -> None:
    content = "text,label\ncafé 👍,1\n".encode(encoding)
    path = write(tmp_path / "a.csv.gz", gzip.compress(content) if compressed else content)
    assert read_table(path).rows == [["café 👍", "1"]]
    assert is_table(path)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Отличный фильм, мне очень понравилось, рекомендую друзьям", "cp1251"),
        ("Отличный фильм, мне очень понравилось, рекомендую друзьям", "koi8_r"),
        ("Schöne Grüße aus München, das Essen war größer als üblich", "cp1252"),
    ],
)
def test_a_sure_encoding_is_read_and_named(
    tmp_path: Path,
    text: str,
    encoding: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text_files._say.cache_clear()
    path = write(tmp_path / "a.csv", f'text\n"{text}"\n'.encode(encoding) * 20)
    assert set(read_table(path).column("text")) == {text, "text"}
    monkeypatch.chdir(tmp_path)
    read_table(Path("a.csv"))  # as a check does, before the training reads the absolute path
    assert capsys.readouterr().err.count("is not UTF-8: read as ") == 1


@pytest.mark.parametrize("text", ["El niño comió una paella", "it’s good", "naïve"])
def test_an_encoding_that_could_be_another_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.csv", f'text\n"{text}"\n'.encode("cp1252") * 20)
    with pytest.raises(InputError, match=r"a\.csv, line 2: not UTF-8 text.* data\.encoding=cp1252"):
        read_table(path)
    assert read_table(path, encoding="cp1252").rows[0] == [text]


@pytest.mark.parametrize("encoding", ["cp1525", "rot13", ""])
def test_an_encoding_that_is_not_one_is_refused(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", "text\nit’s good\n".encode("cp1252"))
    with pytest.raises(InputError, match=f"data.encoding={encoding} is not an encoding of text"):
        read_table(path, encoding=encoding)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,1\n".encode("utf-16-le"), "UTF-16 without a mark"),
        (gzip.compress(b"text,label\na,1\n", mtime=0)[:-9], "cannot be unpacked"),
        (b"PK\x03\x04 a workbook", "a ZIP archive or a workbook"),
        (b"\xff\xfea", "not utf-16-le text"),
    ],
)
def test_what_is_not_a_text_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path / "a.csv", content))


def test_an_archive_is_unpacked_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "MAX_UNPACKED", 1_000)
    path = write(tmp_path / "a.csv.gz", gzip.compress(b"a" * 1_001))
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        read_table(path)


@pytest.mark.slow
def test_a_cell_too_long_for_a_text_is_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + 5_000_000 * "good film " + ",1\n")
    with pytest.raises(InputError, match=r"line 2 holds a text of 50,000,000 characters"):
        read_table(path)


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.csv"):
        with pytest.raises(InputError, match=rf"{name} cannot be read: it is a pipe or a device"):
            read_table(tmp_path / name)
