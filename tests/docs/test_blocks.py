"""Code in the pages is code."""

from pathlib import Path

import pytest

from tests.commands import REPOSITORY
from tests.docs.pages import blocks

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_table_has_a_line_below_its_headings(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|") and not lines[number - 1].startswith("|"):
            assert set(lines[number + 1]) <= set("|-: "), f"{page.name}:{number + 1}"
            assert line.count("|") == lines[number + 1].count("|"), f"{page.name}:{number + 1}"
