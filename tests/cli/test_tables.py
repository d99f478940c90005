"""Tables lose nothing, whatever the width of the terminal."""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from attention_atlas.cli.head_table import HeadNumber, table_by_head
from attention_atlas.cli.tables import format_p_value, print_facts, print_table

HEADINGS = ["run", "task", "attention", "accuracy"]
ROWS = [
    ["outputs/results/nlp/seed-0/run", "nlp", "cosine, window=8, null_key", "87.02 %"],
    ["outputs/映画/one", "vision", "scaled_dot", "98.2 %"],
]


def characters(*cells):
    """All characters but blanks, sorted: the same before and after folding."""
    return sorted("".join("".join(cells).split()))


def test_a_pipe_gets_tab_separated_values(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = [[f"{cell}{'x' * 90}" for cell in row] for row in ROWS]
    wide[0][1] = "a tab\tand a\nline"
    print_table(HEADINGS, wide, ["accuracy"])
    printed = csv.reader(io.StringIO(capsys.readouterr().out), "excel-tab")
    wide[0][1] = "a tab\tand a line"  # a row is a line, whatever a name holds
    assert list(printed) == [HEADINGS, *wide]


@pytest.mark.parametrize("columns", [60, 61, 80, 100, 140, 200])
def test_no_cell_is_cropped_in_a_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(HEADINGS, ROWS, ["accuracy"])
    printed = capsys.readouterr().out
    assert max(map(cell_len, printed.splitlines())) <= columns
    assert characters(printed) == characters(*HEADINGS, *(cell for row in ROWS for cell in row))
    for number in ("87.02 %", "98.2 %"):
        assert number in printed


def test_wide_numbers_are_cut_between_columns_and_keep_their_rows(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    headings = ["head", *(f"{place}.0" for place in range(20))]
    rows = [
        [f"{place}.0", *(f"{place}.{column:02d}" for column in range(20))] for place in range(3)
    ]
    print_table(headings, rows, headings, in_pieces=True)
    pieces = capsys.readouterr().out.split("\n\n")
    assert len(pieces) == 3
    for row in rows:
        found = [line.split() for piece in pieces for line in piece.splitlines()]
        cells = [cell for line in found if line[0] == row[0] for cell in line[1:]]
        assert cells == row[1:]


def test_a_name_longer_than_the_terminal_is_folded(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    name = "outputs/" + "a" * 100
    print_table(HEADINGS, [[name, "nlp", "dot", "1 %"]])
    print_facts([("atlas", name), ("classes", ["yes"] * 30)])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 60
    assert characters(printed) == characters(
        *HEADINGS, name, "nlp", "dot", "1 %", "atlas", name, "classes", ",".join(["yes"] * 30)
    )


@pytest.mark.parametrize(
    ("p_value", "words"), [(0.0, "< 0.001"), (0.0009, "< 0.001"), (0.03125, "0.031"), (1, "1.000")]
)
def test_no_p_value_is_nothing(p_value, words):
    assert format_p_value(p_value) == words


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([(3.0, 0.5), (2.95, 0.73)], ["3.00 ± 0.50", "2.95 ± 0.73"]),
        ([(371.4, 420.1), (-0.2, 3.0)], ["371 ± 420", "0 ± 3"]),
        ([(0.0313, 0.17), (1.0, 0.0)], ["0.031 ± 0.170", "1.000 ± 0.000"]),
        ([(0.0, 0.0), (NAN, NAN)], ["0.000 ± 0.000", "-"]),
        ([(0.00021, NAN), (0.00104, NAN)], ["0.00021", "0.00104"]),
        ([(2.5e-9, NAN), (1.04e-7, NAN)], ["2.50e-09", "1.04e-07"]),
    ],
)
def test_a_mean_and_its_spread_have_the_same_decimals(values, cells):
    numbers = [HeadNumber(0, head, "entropy", "", *pair) for head, pair in enumerate(values)]
    _, rows = table_by_head(numbers)
    assert [row[1] for row in rows] == cells


CELLS = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=4),
    columns=st.integers(60, 200),
)
def test_every_cell_of_any_table_is_printed(rows, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(HEADINGS, rows)
    printed = capsys.readouterr().out
    assert max(map(cell_len, printed.splitlines())) <= columns
    assert characters(printed) == characters(*HEADINGS, *(cell for row in rows for cell in row))
