"""Tables lose nothing, whatever the width of the terminal."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from attention_atlas.cli.formatting import p_in_words
from attention_atlas.cli.head_table import HeadNumber, table_by_head
from attention_atlas.cli.tables import print_facts, print_table

HEADINGS = ["run", "task", "attention", "accuracy"]
ROWS = [
    ["outputs/results/nlp/seed-0/run", "nlp", "cosine, window=8, null_key", "87.02 %"],
    ["outputs/映画/one", "vision", "scaled_dot", "98.2 %"],
]


def test_a_row_is_a_line_where_nobody_looks(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = [[f"{cell}{'x' * 90}" for cell in row] for row in ROWS]
    print_table(HEADINGS, wide, ["accuracy"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(wide)
    for line, row in zip(lines[1:], wide, strict=True):
        assert all(cell in line for cell in row)
        assert line == line.rstrip()


@pytest.mark.parametrize("columns", [60, 61, 80, 100, 140, 200])
def test_no_cell_is_cropped_or_broken_in_a_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    for in_pieces in (False, True):
        print_table(HEADINGS, ROWS, ["accuracy"], in_pieces=in_pieces)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(cell_len, lines)) <= columns
        for cell in [cell for row in ROWS for cell in row] + HEADINGS[1:]:
            assert any(cell in line for line in lines), cell


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


def test_a_name_longer_than_the_terminal_is_still_whole(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    name = "outputs/" + "a" * 100
    print_table(HEADINGS, [[name, "nlp", "dot", "1 %"]])
    print_facts([("atlas", name), ("classes", ["yes"] * 30)])
    lines = capsys.readouterr().out.splitlines()
    assert name in lines
    assert f"atlas    {name}" in lines
    assert max(len(line) for line in lines if name not in line) <= 60


def test_a_paragraph_has_no_blank_before_its_marks(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    print_table(HEADINGS, [["name", "nlp  ", "x" * 60, "30.00 [27.24, 32.91]  "]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  task nlp;"
    assert lines[-1].endswith("accuracy 30.00 [27.24, 32.91]")


@pytest.mark.parametrize(
    ("p_value", "words"), [(0.0, "< 0.001"), (0.0009, "< 0.001"), (0.03125, "0.031"), (1, "1.000")]
)
def test_no_p_value_is_nothing(p_value, words):
    assert p_in_words(p_value) == words


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
    for in_pieces in (False, True):
        print_table(HEADINGS, rows, in_pieces=in_pieces)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(cell_len, lines)) <= columns
        for row in rows:
            assert all(any(cell in line for line in lines) for cell in row)
