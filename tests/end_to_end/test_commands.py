"""The project from end to end on the data that comes with it, each command a real process.

All of this is part of `make test`: a shortened run of each task, a sweep, a run by two processes,
and a run that is killed and resumed.
"""

import json
import math
import signal
from pathlib import Path

import pytest

from tests.commands import content, invoke_atlas, run_script, start_command

FEW = [f"+trainer.limit_{split}_batches=6" for split in ("train", "val", "test")]
# What is changed in the recipe of each task, and the accuracy that it reaches at least.
SHORT = {
    "nlp": (["+trainer.limit_train_batches=60", *FEW[1:]], 0.6),
    "vision": ([], 0.35),
    "speech": (["+trainer.limit_train_batches=60", *FEW[1:]], 0.3),
}


def train(arguments: list[str], folder: Path) -> str:
    done = run_script(["train.py", *arguments], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def result(run: Path) -> dict[str, float]:
    return json.loads((run / "result.json").read_text())


@pytest.mark.parametrize(
    "task",
    [
        pytest.param("nlp", marks=pytest.mark.slow),
        "vision",
        pytest.param("speech", marks=pytest.mark.slow),
    ],
)
def test_a_run_learns_is_evaluated_and_shown(task: str, tmp_path: Path) -> None:
    shortened, accuracy = SHORT[task]
    train([f"task={task}", "trainer.max_epochs=1", "capture.num_samples=8", *shortened], tmp_path)
    (run,) = tmp_path.glob(f"outputs/{task}/*")
    assert result(run)["val/accuracy"] >= accuracy
    assert math.isfinite(result(run)["test/loss"])
    before = content(run)

    evaluated = run_script(["evaluate.py", f"run={run.relative_to(tmp_path)}"], tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    (folder,) = (run / "evaluations").iterdir()
    assert result(folder)["test/accuracy"] == result(run)["test/accuracy"]
    assert (folder / "atlas.zarr").is_dir()
    after = content(run)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"evaluations"}

    for command in ("info", "show", "stats"):
        shown = invoke_atlas(tmp_path, command, str(run))
        assert shown.exit_code == 0, shown.output
        assert shown.stdout.strip()


@pytest.mark.slow
def test_a_baseline_stands_in_the_table_of_a_later_run(tiny, tmp_path: Path) -> None:
    cache = {"ATTENTION_ATLAS_CACHE": str(tmp_path / "cache")}
    here = tmp_path / "here"
    here.mkdir()
    baseline = run_script(["baseline.py", *tiny["vision"][:4]], here, **cache)
    assert baseline.returncode == 0, baseline.stderr
    assert "RBF SVM on principal components" in baseline.stdout
    (measured,) = here.glob("outputs/baselines/vision/*/baseline.json")
    accuracy = json.loads(measured.read_text())["test/accuracy"]
    trained = run_script(["train.py", *tiny["vision"]], here, **cache)
    assert trained.returncode == 0, trained.stderr
    assert f"{100 * accuracy:.2f} %" in trained.stdout


@pytest.mark.slow
def test_a_sweep_trains_each_job_and_is_summed_up(tmp_path: Path) -> None:
    swept = ["attention=scaled_dot,additive", "trainer.max_epochs=1", "capture=off"]
    train(["-m", "task=vision", *swept, *FEW], tmp_path)
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert sorted(path.parent.name for path in sweep.glob("*/result.json")) == [
        "attention-additive",
        "attention-scaled_dot",
    ]
    shown = invoke_atlas(tmp_path, "sweep", str(sweep))
    assert shown.exit_code == 0, shown.output
    assert "additive" in shown.stdout


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path: Path) -> None:
    two = ["trainer=ddp_cpu", "trainer.devices=2", "trainer.max_epochs=1"]
    output = train(["task=vision", *two, *FEW], tmp_path)
    assert output.count("run folder:") == 1
    (run,) = tmp_path.glob("outputs/vision/*")
    assert (run / "atlas.zarr" / "rank-1").is_dir()
    assert result(run)["num_test_samples"] > 0


@pytest.mark.slow
def test_a_killed_run_is_resumed_by_the_same_command(tmp_path: Path) -> None:
    command = ["task=vision", "trainer.max_epochs=6", "resume=auto", *FEW]
    process = start_command(["train.py", *command], tmp_path)
    assert process.stdout is not None
    assert any(line.startswith("epoch 3/6") for line in process.stdout)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    output = train(command, tmp_path)
    assert "epoch 1/6" not in output
    assert "epoch 6/6" in output
    (run,) = tmp_path.glob("outputs/vision/*")
    assert (run / "result.json").is_file()
