"""The benchmarks as a user runs them; what they measure is left to them."""

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS
from tests.commands import REPOSITORY, run_script


@pytest.mark.slow
def test_a_group_is_measured_printed_written_and_checked(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "figures.json"
    finished = run_script(
        ["-m", "benchmarks", "--quick", "--check", "--only", "recording", "--out", str(out)],
        tmp_path,
        PYTHONPATH=str(REPOSITORY),
    )
    content = json.loads(out.read_text())
    assert finished.returncode == (1 if content["missed"] else 0), finished.stderr
    assert content["machine"]["threads"] == 1
    assert content["machine"]["cpu"]
    rows = {(row["name"], row["unit"] == "MiB"): row for row in content["figures"]}
    assert rows["readout row", False]["at_most"] == 1.2
    assert rows["readout row, with gradients", False]["at_most"] is None
    assert rows["readout row", True]["rounds"] == 1
    for (name, _), row in rows.items():
        assert row["ratio"] > 0
        assert row["amount"] > 0
        assert f"| {name} | " in finished.stdout
        bound = row["at_most"]
        assert row["reached"] == (None if bound is None else row["ratio"] <= bound)
    assert len(content["missed"]) == finished.stdout.count("missed: ")
    assert len(content["missed"]) == sum(row["reached"] is False for row in content["figures"])


@pytest.mark.slow
@pytest.mark.parametrize("group", [group for group in GROUPS if group != "recording"])
def test_every_group_runs(group: str, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    finished = run_script(
        ["-m", "benchmarks", "--quick", "--only", group, "--out", str(out)],
        tmp_path,
        PYTHONPATH=str(REPOSITORY),
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(out.read_text())["figures"]


def test_a_wrong_group_ends_in_a_one_line_error(tmp_path: Path) -> None:
    finished = run_script(
        ["-m", "benchmarks", "--only", "recordin"], tmp_path, PYTHONPATH=str(REPOSITORY)
    )
    assert finished.returncode == 2
    assert "recordin" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []
