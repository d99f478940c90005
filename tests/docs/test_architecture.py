"""docs/architecture.md names files that exist, and its tour is short."""

import re
from pathlib import Path


def _page(repository: Path) -> str:
    return (repository / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_file_that_is_named_exists(repository: Path) -> None:
    names = set(re.findall(r"`([\w/]+\.py)`", _page(repository)))
    roots = (repository, repository / "src" / "attention_atlas")
    assert len(names) > 20
    assert [name for name in names if not any((root / name).is_file() for root in roots)] == []


def test_the_tour_has_at_most_twelve_files(repository: Path) -> None:
    tour = _page(repository).partition("## A tour")[2].partition("\n## ")[0]
    stops = re.findall(r"^(\d+)\. `([\w/]+\.py)`", tour, re.M)
    assert 10 <= len(stops) <= 12
    assert [int(number) for number, _ in stops] == list(range(1, len(stops) + 1))


def test_every_folder_of_the_package_is_named(repository: Path) -> None:
    folders = (repository / "src" / "attention_atlas").iterdir()
    page = _page(repository)
    missing = [path.name for path in folders if (path / "__init__.py").is_file()]
    assert [name for name in missing if f"{name}/" not in page] == []
