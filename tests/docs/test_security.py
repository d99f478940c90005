"""The page on security names the tests that there are, and all of them."""

import ast
import re
from pathlib import Path


def section(repository: Path, heading: str) -> str:
    page = (repository / "docs" / "security.md").read_text(encoding="utf-8")
    return page.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_the_table_of_the_page_is_the_list_of_the_tests(repository: Path) -> None:
    page = section(repository, "Attacks that were tried")
    named = re.findall(r"\| `(\w+\.py::\w+)` \|$", page, re.MULTILINE)
    there = [
        f"{path.name}::{node.name}"
        for path in sorted((repository / "tests" / "security").glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert len(named) == len(set(named)) > 50
    assert set(named) == set(there)


def test_each_guarantee_names_a_test_that_there_is(repository: Path) -> None:
    page = section(repository, "What is guaranteed")
    rows = [line for line in page.splitlines() if line.startswith("|")][2:]
    named = [re.search(r" \| `([\w/]+\.py)::(\w+)` \|$", row) for row in rows]
    assert len(rows) >= 20
    for row, found in zip(rows, named, strict=True):
        assert found is not None, row
        path = repository / "tests" / found[1]
        assert path.is_file(), row
        assert f"\ndef {found[2]}(" in path.read_text(encoding="utf-8"), row


def test_each_row_says_what_happens(repository: Path) -> None:
    page = section(repository, "Attacks that were tried")
    rows = [line for line in page.splitlines() if ".py::" in line]
    assert rows
    assert all(len(row.split(" | ")) == 3 for row in rows)
