"""Two commands that write to one place: the first one wins, the other one leaves it alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attention_atlas.atlas import open_atlas
from tests.commands import REPOSITORY, run_script

ATLAS = "from attention_atlas.cli import main; main()"

pytestmark = pytest.mark.slow


def run_twice(command: list[str], folder: Path, gap: float, **environment: str) -> dict[int, str]:
    """Start a command twice, and return the errors of both by their exit codes."""
    processes = []
    for _ in range(2):
        processes.append(
            subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            )
        )
        time.sleep(gap)
    errors = [process.communicate(timeout=300)[1] for process in processes]
    return dict(zip((process.returncode for process in processes), errors, strict=True))


@pytest.mark.parametrize("gap", [0, 0.5, 2])
def test_two_records_in_one_folder(
    gap: float, trained_runs: dict[str, Path], reviews: Path, tmp_path: Path
) -> None:
    run = str(trained_runs["nlp"])
    command = ["-c", ATLAS, "record", run, "--data", str(reviews), "--out", "out"]
    ends = run_twice(command, tmp_path, gap)
    assert set(ends) == {0, 2}, ends
    assert ends[2].count("\n") == 1
    assert "already holds an atlas" in ends[2] or "Another process writes" in ends[2]
    atlas = open_atlas(tmp_path / "out")
    assert atlas.finished
    assert len(atlas) == 200


@pytest.mark.parametrize("gap", [0, 1])
def test_two_trainings_that_prepare_the_same_data(
    gap: float, tiny: dict[str, list[str]], tmp_path: Path
) -> None:
    command = [str(REPOSITORY / "train.py"), *tiny["vision"], "capture=off"]
    ends = run_twice(command, tmp_path, gap, ATTENTION_ATLAS_CACHE=str(tmp_path / "cache"))
    assert ends == {0: ""}
    first, second = tmp_path.glob("outputs/vision/*/metrics.csv")
    assert first.read_text() == second.read_text()
    assert not list((tmp_path / "cache").glob(".*"))


def test_a_killed_record_is_refused_until_it_is_removed(
    trained_runs: dict[str, Path], reviews: Path, tmp_path: Path
) -> None:
    """What it committed is readable, so it is not removed unasked."""
    run = str(trained_runs["nlp"])
    command = ["-c", ATLAS, "record", run, "--data", str(reviews), "--out", "out"]
    process = subprocess.Popen([sys.executable, *command], cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "atlas.zarr").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    again = run_script(command, tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith("error: out already holds an atlas: take another folder, or")
