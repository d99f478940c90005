"""Read the tables of a page of docs/, and write numbers as they do."""

from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


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


def size(num_bytes: float) -> str:
    """A number of bytes in three digits, in units of 1000."""
    return _scaled(num_bytes, UNITS)


def count(number: float) -> str:
    """A number in three digits, with its unit."""
    return _scaled(number, ("", "thousand", "million", "billion"))


def seconds(number: float) -> str:
    """A time in two digits."""
    return f"{number:.2g} s" if number >= 0.1 else f"{1000 * number:.2g} ms"


def duration(number: float) -> str:
    """A long time in two digits, in the largest unit that it reaches."""
    units = {"years": 365 * 86400, "days": 86400, "hours": 3600}
    unit = next((name for name, length in units.items() if number >= length), "hours")
    return f"{float(f'{number / units[unit]:.2g}'):g} {unit}"


def _scaled(number: float, units: tuple[str, ...]) -> str:
    for unit in units:
        if float(f"{number:.3g}") < 1000 or unit == units[-1]:
            break
        number /= 1000
    return f"{number:.3g} {unit}".strip()
