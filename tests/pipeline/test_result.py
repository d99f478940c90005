"""The closing tables of the commands."""

import io
from typing import TextIO, cast

import pytest
from rich.console import Console

from attention_atlas.console import SafeOutput
from attention_atlas.pipeline.runs.result import MAX_GROUPS, accuracy_table


def lines_of(result: dict[str, float]) -> list[str]:
    printed = io.StringIO()
    console = Console(file=cast("TextIO", SafeOutput(printed)), width=200)
    console.print(accuracy_table(result, ("test",), "title"))
    return [line.strip("│ \n") for line in printed.getvalue().splitlines() if "%" in line]


def test_a_group_has_a_row_whatever_its_name() -> None:
    names = ["anna", "[/x]", "[red]b", "a\x1b[2Jb", "c\nd"]
    lines = lines_of({"test/accuracy": 0.5} | {f"test/accuracy/{name}": 0.25 for name in names})
    assert [line.partition("│")[0].strip() for line in lines] == [
        *("test", "anna", "[/x]", "[red]b", "a\ufffd[2Jb", "c d"),
    ]


@pytest.mark.parametrize("number", [MAX_GROUPS, MAX_GROUPS + 1, 3_000])
def test_of_many_groups_the_best_the_median_and_the_worst_are_shown(number: int) -> None:
    groups = {f"test/accuracy/g{index}": index / number for index in range(number)}
    lines = lines_of({"test/accuracy": 0.5} | groups)
    if number == MAX_GROUPS:
        assert len(lines) == 1 + number
        return
    names = [line.partition("│")[0].strip() for line in lines]
    middle = number - 1 - number // 2
    assert names == [
        "test",
        *(f"best of {number:,} groups, g{number - 1}", f"median of {number:,} groups, g{middle}"),
        f"worst of {number:,} groups, g0",
    ]
