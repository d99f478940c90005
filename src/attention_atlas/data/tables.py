"""Strict reading of CSV and TSV files: an error names the file and the line."""

import csv
import difflib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from attention_atlas.data.text_files import check_length, physical_lines, read_text
from attention_atlas.errors import InputError, counted

DELIMITERS = ",\t;"
DECLARED = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""First line by which Excel names the delimiter."""
QUOTED = re.compile(r'[ \t]+".*"', re.DOTALL)
EXAMINED = 1_000  # rows that show the delimiter


class Dialect(NamedTuple):
    """Form of the fields of a file.

    Attributes:
        delimiter: Character between two fields.
        quoted: Whether a quotation mark at the start of a field encloses it.
        skips_blanks: Whether blanks behind a delimiter are left out.
    """

    delimiter: str
    quoted: bool
    skips_blanks: bool = False


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


def read_table(
    path: Path, quoted: bool = True, cleaned: bool = True, encoding: str | None = None
) -> Table:
    """Read a CSV or TSV file with a header, which may be compressed by gzip.

    Args:
        path: The file; `.tsv` is delimited by tabs, others by the one of comma, tab and semicolon
            that gives all rows equally many fields, or by the one that a first line `sep=;` names.
        quoted: Whether a field that begins with a quotation mark runs to the closing one, as
            spreadsheets write it. GLUE's files are not quoted.
        cleaned: Whether control characters are replaced (see `clean_text`).
        encoding: None finds it (see `read_text`).

    Raises:
        InputError: The file is missing, unreadable, empty, of an unknown encoding, repeats a
            column, or a row does not fit.
    """
    lines = physical_lines(read_text(path, cleaned, encoding))
    declared = DECLARED.fullmatch(lines[0]) if lines else None
    first = 1 if declared else 0
    if declared:
        dialect = Dialect(declared[1], quoted)
    else:
        delimiters = "\t" if ".tsv" in path.name.lower() else DELIMITERS
        dialect = _find_dialect(lines, delimiters, quoted)
    records = _records(path, lines, dialect, first)
    _, header = next(records, (1, []))
    columns = [column.strip() for column in header]
    _check_columns(path, columns)
    rows, starts = [], []
    for start, row in records:
        if len(row) != len(columns):
            raise InputError(
                f"{path}, line {start}: {counted(len(row), 'field')} where the header has "
                f"{len(columns)}. "
                + (
                    "A field that holds the delimiter must stand in quotation marks."
                    if quoted
                    else "With data.quoted=false, quotation marks enclose no delimiter."
                )
            )
        for cell in row:
            check_length(cell, f"{path}, line {start}")
        rows.append(row)
        starts.append(start)
    if not rows:
        what = "has a header alone" if columns else "is empty"
        raise InputError(f"{path} {what}: expected a header and at least one row.")
    return Table(path, columns, rows, starts)


def _check_columns(path: Path, columns: list[str]) -> None:
    repeated = [name for name, count in Counter(columns).items() if name and count > 1]
    if repeated:
        raise InputError(f"{path} has two columns named {repeated[0]!r}; rename one of them.")


def _find_dialect(lines: list[str], delimiters: str, quoted: bool) -> Dialect:
    """Choose what gives the first rows equally many fields, and most of them; else the header."""
    header = next((line for line in lines if line.strip()), "")
    by_header = Dialect(max(delimiters, key=header.count), quoted)
    fitting: list[tuple[int, Dialect]] = []
    for delimiter in delimiters:
        plain = Dialect(delimiter, quoted)
        rows = _first_rows(lines, plain)
        num_fields = _num_fields(rows)
        if quoted and (not num_fields or _has_blanks(lines, delimiter, rows)):
            skipping = plain._replace(skips_blanks=True)
            num_skipping = _num_fields(_first_rows(lines, skipping))
            if num_skipping:
                plain, num_fields = skipping, num_skipping
        if num_fields:
            fitting.append((num_fields, plain))
    return max(fitting, key=lambda each: each[0], default=(0, by_header))[1]


def _has_blanks(lines: list[str], delimiter: str, rows: list[list[str]]) -> bool:
    """Whether blanks stand before opening quotation marks, which then enclose nothing."""
    cells = [cell for row in rows for cell in row if QUOTED.fullmatch(cell)]
    content = "".join(lines) if cells else ""
    return any(f"{delimiter}{cell}" in content for cell in cells)


def _num_fields(rows: list[list[str]]) -> int:
    """Return the number of fields of each row; 0 if they differ or there is only one."""
    counts = {len(row) for row in rows}
    return counts.pop() if len(counts) == 1 and counts != {1} else 0


def _first_rows(lines: list[str], dialect: Dialect) -> list[list[str]]:
    """Return the first rows; none if the quotation marks do not fit."""
    try:
        return list(islice(filter(any, _reader(lines, dialect)), EXAMINED))
    except csv.Error:
        return []


def _reader(lines: Sequence[str], dialect: Dialect) -> Any:
    csv.field_size_limit(sys.maxsize)  # a review may be longer than the default of 131,072
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        skipinitialspace=dialect.skips_blanks,
        strict=True,
    )


def _records(
    path: Path, lines: Sequence[str], dialect: Dialect, first: int
) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the records from line `first` that are not blank, with the line of each."""
    reader = _reader(lines[first:], dialect)
    start = first + 1
    try:
        for record in reader:
            if any(record):
                yield start, record
            start = first + reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {start}: {error}. A field that begins with a quotation mark ends "
            "with one, and has two for each inside; with data.quoted=false they are plain "
            "characters."
        ) from None
