"""Strict reading of CSV and TSV files: an error names the file and the line."""

import csv
import difflib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_atlas.errors import InputError

DELIMITERS = ",\t;"
UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Table:
    """The rows of one file; `lines` holds the first line of each row, counted from 1."""

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str, key: str | None = None) -> list[str]:
        """Return the cells of a column by its name in the header, which `key` of the config chose.

        Raises:
            InputError: There is no such column, or one of its cells is empty.
        """
        if name not in self.columns:
            close = difflib.get_close_matches(name, self.columns, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            chosen = f" (chosen by {key})" if key else ""
            raise InputError(
                f"{self.path} has no column '{name}'{chosen}; it has "
                f"{', '.join(repr(column) for column in self.columns)}.{hint}"
            )
        index = self.columns.index(name)
        cells = [row[index] for row in self.rows]
        for cell, line in zip(cells, self.lines, strict=True):
            if not cell.strip():
                raise InputError(
                    f"{self.path}, line {line}: the column '{name}' is empty; every row needs one."
                )
        return cells


def read_table(path: Path, quoted: bool = True) -> Table:
    """Read a CSV or TSV file with a header.

    Args:
        path: The file; `.tsv` is delimited by tabs, others by the most frequent of comma, tab and
            semicolon in the header.
        quoted: Whether a field that begins with a quotation mark runs to the closing one, as
            spreadsheets write it. GLUE's files are not quoted.

    Raises:
        InputError: The file is missing, unreadable, empty, not UTF-8, or a row does not fit.
    """
    content = read_text(path)
    lines = _physical_lines(content)
    header = next((line for line in lines if line.strip()), "")
    tab = path.suffix.lower() == ".tsv"
    records = _records(path, lines, "\t" if tab else max(DELIMITERS, key=header.count), quoted)
    _, columns = next(records, (1, []))
    rows, starts = [], []
    for start, row in records:
        if len(row) != len(columns):
            raise InputError(
                f"{path}, line {start}: {len(row)} fields where the header has {len(columns)}. "
                + (
                    "A field that holds the delimiter must stand in quotation marks."
                    if quoted
                    else "With data.quoted=false, quotation marks enclose no delimiter."
                )
            )
        rows.append(row)
        starts.append(start)
    if not rows:
        what = "has a header alone" if columns else "is empty"
        raise InputError(f"{path} {what}: expected a header and at least one row.")
    return Table(path, [column.strip() for column in columns], rows, starts)


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        InputError: The file is missing, unreadable or not UTF-8.
    """
    try:
        content = path.read_bytes().removeprefix(UTF8_MARK)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a text file.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(_physical_lines(content[: error.start].decode("utf-8") + "."))
        raise InputError(
            f"{path}, line {line}: not UTF-8 text (byte 0x{content[error.start]:02x}). "
            "Save the file with the encoding UTF-8."
        ) from None


def _physical_lines(content: str) -> list[str]:
    """Split into lines as editors count them; `str.splitlines` also splits at rarer characters."""
    return list(io.StringIO(content, newline=None))


def _records(
    path: Path, lines: Sequence[str], delimiter: str, quoted: bool
) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the records that are not blank, with the first line of each."""
    csv.field_size_limit(sys.maxsize)  # a review may be longer than the default of 131,072
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    start = 1
    try:
        for record in reader:
            if any(record):
                yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {start}: {error}. A field that begins with a quotation mark ends "
            "with one, and has two for each inside; with data.quoted=false they are plain "
            "characters."
        ) from None
