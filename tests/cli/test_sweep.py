"""`atlas sweep`: the trials of a sweep, ranked."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import REPOSITORY, content, run_script
from tests.made_sweeps import write_job, write_known


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Two settings with two seeds; one job failed and one is running."""
    folder = Path("outputs") / "sweeps" / "2026-01-31_12-00-00"
    monkeypatch.chdir(tmp_path)
    for number, value in enumerate((0.5, 0.75, 0.25, None)):
        overrides = [f"attention={('dot', 'cosine')[number // 2]}", f"seed={number % 2}"]
        result = None
        if value is not None:
            result = {"val/accuracy": value, "test/accuracy": 1 - value, "cpu_seconds": 7.0}
        name = "_".join(overrides).replace("=", "-")
        write_job(folder, name, overrides, result, None if result else "The loss is NaN.")
    write_job(folder, "attention-gated_seed-0", ["attention=gated", "seed=0"])
    return folder


@pytest.fixture
def shown(printed, tmp_path, sweep, monkeypatch):
    """What `atlas sweep` prints in the folder that holds `outputs`."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **options: printed("sweep", *arguments, **options)


def rows(words):
    return [line.split() for line in words.splitlines()]


def test_table_and_problems(shown, sweep):
    before = content(sweep)
    words = shown(sweep)
    assert content(sweep) == before
    lines = words.splitlines()
    assert lines[0] == (
        f"{sweep}: 3 finished, 1 unfinished, 1 failed; val/accuracy, higher is better"
    )
    assert rows(words)[2] == [
        *("1", "75.00", "dot", "1", "7", "finished", "attention-dot_seed-1"),
    ]
    assert [row[0] for row in rows(words)[2:7]] == ["1", "2", "3", "-", "-"]
    place = lines.index("Means over seeds:")
    assert rows(words)[place + 2] == ["1", "62.50", "17.68", "2", "dot"]
    assert lines[-2] == ("1 unfinished, still running or interrupted: attention-gated_seed-0.")
    assert lines[-1] == f"{sweep / 'attention-cosine_seed-1'}: The loss is NaN."


def test_another_metric(shown, sweep):
    words = shown(sweep, "--metric", "test/accuracy")
    assert "test/accuracy, higher is better" in words
    assert rows(words)[2][1] == "75.00"
    assert rows(words)[2][-1] == "attention-cosine_seed-0"


def test_limit(shown, sweep):
    words = shown(sweep, "--limit", 1)
    assert "and 4 more" in words
    assert "attention-dot_seed-0" not in words
    assert "attention-cosine_seed-1: The loss is NaN." in words


def test_json_holds_all_trials(shown, sweep):
    described = json.loads(shown(sweep, "--json", "--limit", 1))
    assert [trial["rank"] for trial in described["trials"]] == [1, 2, 3, None, None]
    assert described["metric"] == "val/accuracy"
    assert described["sweep"] == sweep.name


def test_csv_and_figure(shown, sweep, tmp_path):
    words = shown(sweep, "--csv", tmp_path / "a.csv", "--save", tmp_path / "a.svg")
    assert words.splitlines()[-2:] == [f"Saved {tmp_path / name}" for name in ("a.svg", "a.csv")]
    with (tmp_path / "a.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 5
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("columns", [60, 90])
def test_fits_the_terminal(shown, sweep, columns):
    lines = shown(sweep, columns=columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert any("attention-cosine_seed-0" in line for line in lines)


def test_bad_input(refused, sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "does not exist" in refused("sweep", "nowhere")
    assert f"the newest is '{sweep}'" in refused("sweep", sweep.parent)
    assert "is a single run" in refused("sweep", sweep / "attention-dot_seed-0")
    assert "take one of val/accuracy" in refused("sweep", sweep, "--metric", "accuracy")
    assert "end it in .csv" in refused("sweep", sweep, "--csv", "a.txt")
    assert "end it in .png" in refused("sweep", sweep, "--save", "a.txt")
    for job in sweep.glob("*/result.json"):
        job.unlink()
    assert "nothing to draw" in refused("sweep", sweep, "--save", tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_it_needs_neither_torch_nor_a_figure_to_print(tmp_path):
    write_known(tmp_path / "sweep", 3)
    program = (
        "import sys; from attention_atlas.cli import main; sys.argv = ['atlas', 'sweep', 'sweep']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "assert not {'torch', 'hydra', 'matplotlib', 'sklearn', 'zarr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_a_sweep_of_real_jobs(tiny, printed, tmp_path, monkeypatch):
    folder = tmp_path / "sweep"
    swept = ["optimizer.lr=0.01,0.001", "seed=0,1", f"hydra.sweep.dir={folder}"]
    small = [*tiny["nlp"], "embedding.num_pairs=0", "trainer.max_epochs=1", "capture=off"]
    done = run_script(["train.py", "-m", *small, *swept], tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(REPOSITORY)
    described = json.loads(printed("sweep", folder, "--json"))
    assert described["metric"] == "val/accuracy"
    assert described["parameters"] == ["optimizer.lr", "seed"]
    trials = described["trials"]
    assert [trial["rank"] for trial in trials] == [1, 2, 3, 4]
    assert {(t["parameters"]["optimizer.lr"], t["seed"]) for t in trials} == {
        (rate, seed) for rate in (0.01, 0.001) for seed in (0, 1)
    }
    for trial in trials:
        result = json.loads((folder / trial["name"] / "result.json").read_text())
        assert trial["value"] == result["val/accuracy"]
        assert trial["seed"] == result["seed"]
    assert [setting["num_seeds"] for setting in described["settings"]] == [2, 2]
    assert "4 finished; val/accuracy, higher is better" in printed("sweep", folder)
