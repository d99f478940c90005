"""`last` and `last:<task>` stand for the newest finished run, in every command that takes a run."""

import json
import os
from pathlib import Path

import pytest

from attention_atlas.errors import InputError
from attention_atlas.run_folder import find_run
from tests.commands import invoke_atlas, run_script


def make_run(folder: str, task: str, age: int) -> None:
    run = Path(folder)
    run.mkdir(parents=True)
    (run / "result.json").write_text(json.dumps({"task": task}))
    os.utime(run / "result.json", (1e9 - age, 1e9 - age))


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a run of text and a newer job of a sweep on images."""
    monkeypatch.chdir(tmp_path)
    make_run("outputs/nlp/one", "nlp", age=20)
    make_run("outputs/sweeps/day/task=vision,seed=0", "vision", age=10)
    make_run("outputs/sweeps/day/task=vision,seed=0/evaluations/day", "vision", age=0)
    (tmp_path / "outputs/nlp/unfinished/.hydra").mkdir(parents=True)
    return tmp_path


def test_last_is_the_newest_finished_run(outputs: Path) -> None:
    assert find_run("last") == "outputs/sweeps/day/task=vision,seed=0"
    assert find_run("last:nlp") == "outputs/nlp/one"
    assert find_run("outputs/nlp/one") == "outputs/nlp/one"
    assert find_run("latest") == "latest"


def test_damaged_and_pruned_runs_are_passed_over(outputs: Path) -> None:
    make_run("outputs/nlp/damaged", "nlp", age=0)
    Path("outputs/nlp/damaged/result.json").write_text('{"task":')
    make_run("outputs/nlp/pruned", "nlp", age=5)
    Path("outputs/nlp/pruned/result.json").write_text('{"task": "nlp", "pruned": true}')
    assert find_run("last") == "outputs/sweeps/day/task=vision,seed=0"
    assert find_run("last:nlp") == "outputs/nlp/one"


def test_a_folder_that_is_called_last_wins(outputs: Path) -> None:
    (outputs / "last").mkdir()
    assert find_run("last") == "last"


def test_a_missing_run_is_reported_with_what_makes_one(outputs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"'last:speech'.* no finished run of speech .*only of nlp and vision.*task=speech",
    ):
        find_run("last:speech")
    os.rename("outputs", "elsewhere")
    with pytest.raises(
        InputError, match=r"no finished run below outputs/\. `atlas train task=nlp`"
    ):
        find_run("last")


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "last"],
        ["show", "last:vision"],
        ["stats", "last"],
        ["predict", "last", "a sentence"],
        ["faithfulness", "last"],
        ["compare", "last", "last:vision"],
        ["export", "last", "--out", "a.csv"],
        ["gallery", "last", "--save", "a.png"],
    ],
)
def test_each_command_looks_into_the_last_run(arguments: list[str], outputs: Path) -> None:
    done = invoke_atlas(outputs, *arguments)
    assert done.exit_code == 2
    assert "outputs/sweeps/day/task=vision,seed=0" in done.stderr  # has no atlas, no checkpoint


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["evaluate.py", "run=last:nlp"], "run=outputs/nlp/one is not a run folder"),
        (["evaluate.py", "run=last"], "run=outputs/sweeps/day/task=vision,seed=0 is not a run"),
        (["train.py", "init=last:nlp"], "outputs/nlp/one/checkpoints/best.ckpt"),
        (["train.py", "init=last:speech"], "no finished run of speech"),
    ],
)
def test_hydra_gets_the_last_run(arguments: list[str], part: str, outputs: Path) -> None:
    done = run_script(arguments, outputs, torch=False)
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.startswith("error: ")
