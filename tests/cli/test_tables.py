"""Tables lose nothing, whatever the width of the terminal."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

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
