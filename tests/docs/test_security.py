"""The page on security names the tests that there are, and all of them."""

import ast
import re
from pathlib import Path


def test_the_table_of_the_page_is_the_list_of_the_tests(repository: Path) -> None:
    page = (repository / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `(\w+\.py::\w+)` \|$", page, re.MULTILINE)
    there = [
        f"{path.name}::{node.name}"
        for path in sorted((repository / "tests" / "security").glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert len(named) == len(set(named)) > 50
    assert set(named) == set(there)


def test_each_row_says_what_happens(repository: Path) -> None:
    page = (repository / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if ".py::" in line]
    assert rows
    assert all(len(row.split(" | ")) == 3 for row in rows)
