"""Read the tables and the fenced blocks of a page, and write numbers as the pages do."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def table(page: str, first_cell: str) -> dict[str, list[str]]:
    """Return the rows of the table whose head opens with this cell: first cell -> the others."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_cell} |"))
    rows = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        rows[first] = others
    return rows


def blocks(path: Path, language: str) -> list[str]:
    """Return the content of each fenced block of a language, "" where none is named."""
    return blocks_of(path.read_text(encoding="utf-8"), language)


def blocks_of(text: str, language: str) -> list[str]:
    """Return the same for a part of a page."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for name, content in fenced if name == language]


def count(number: float) -> str:
    """A number in three digits, with its unit."""
    units = ["", "thousand", "million", "billion"]
    while len(units) > 1 and float(f"{number:.3g}") >= 1000:
        number /= 1000
        del units[0]
    return f"{number:.3g} {units[0]}".strip()
