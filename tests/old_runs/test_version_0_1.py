"""Runs of each task that version 0.1 trained open, are shown, evaluated and trained on from.

`version_0_1.tar.xz` was made by its `train.py` in the folder `runs_of_0_1`, whose `data` it names.
"""

import contextlib
import json
import shutil
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attention_atlas.analysis.confusion import confusion_of
from attention_atlas.atlas import Atlas, open_atlas
from attention_atlas.run_folder import best_checkpoint
from tests.commands import content, invoke_atlas, run_script

TIME = "2026-11-30_12-00-00-000000"
INPUTS = {
    "nlp": "a good movie",
    "vision": "data/pictures/left/0.png",
    "speech": "data/sounds/low/0.wav",
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the runs were trained in."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).with_name("version_0_1.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder / "runs_of_0_1"


@pytest.fixture(autouse=True)
def _in_workspace(workspace: Path) -> Iterator[None]:
    with contextlib.chdir(workspace):
        yield


@pytest.fixture(params=list(INPUTS))
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(task: str) -> Path:
    """The run folder, as a user names it: relative to the working directory."""
    return Path("outputs") / task / TIME


def read_result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def overrides_of(run: Path) -> list[str]:
    """The command line of the run."""
    lines = (run / ".hydra" / "overrides.yaml").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("- ") for line in lines]


def by_sample(atlas: Atlas) -> dict[str, Any]:
    return {sample.sample_id: sample for sample in atlas}


def test_the_atlas_opens(run: Path) -> None:
    atlas, result = open_atlas(run), read_result(run)
    assert len(atlas) == result["num_test_samples"]
    assert atlas.classes == result["classes"]
    right = 0
    for sample in atlas:
        layers, heads, *size = sample.maps.shape
        assert (layers, heads, size) == (1, 2, [sample.length, sample.length])
        np.testing.assert_allclose(sample.maps.sum(-1), 1, atol=1e-2)  # float16
        assert sample.readout.shape == (2, sample.length)
        np.testing.assert_allclose(sample.readout.sum(-1), 1, atol=1e-4)
        right += sample.label == sample.prediction == int(sample.logits.argmax())
    assert right / len(atlas) == result["test/accuracy"]


def test_the_commands_show_it(run: Path, task: str, workspace: Path) -> None:
    for command in (["show", str(run)], ["info", str(run), "--json"], ["list", "--json"]):
        done = invoke_atlas(workspace, *command)
        assert done.exit_code == 0, done.output
        if command[0] == "info":
            assert json.loads(done.stdout)["task"] == task
        if command[0] == "list":
            (listed,) = (each for each in json.loads(done.stdout) if each["run"] == str(run))
            assert listed["test_accuracy"] == read_result(run)["test/accuracy"]


def test_it_predicts(run: Path, task: str, workspace: Path) -> None:
    done = invoke_atlas(workspace, "predict", str(run), INPUTS[task], "--json")
    assert done.exit_code == 0, done.output
    (predicted,) = json.loads(done.stdout)
    assert predicted["prediction"] in read_result(run)["classes"]


@pytest.mark.slow
def test_it_is_evaluated_to_the_same_figures(run: Path, workspace: Path) -> None:
    before = content(run)
    done = run_script(["evaluate.py", f"run={run}"], workspace)
    assert done.returncode == 0, done.stderr
    after = content(run)
    assert {name: after[name] for name in before} == before
    (folder,) = (run / "evaluations").iterdir()
    trained, again = read_result(run), read_result(folder)
    for name in ("test/accuracy", "test/macro_f1", "classes"):
        assert again[name] == trained[name]
    # Version 0.1 saved the whole matrix.
    assert isinstance(trained["test/confusion_matrix"], list)
    assert confusion_of(again).to_json() == confusion_of(trained).to_json()
    assert again["test/loss"] == pytest.approx(trained["test/loss"], rel=1e-4)
    assert again["num_parameters"] == trained["num_parameters"]
    of_then, of_now = by_sample(open_atlas(run)), by_sample(open_atlas(folder))
    assert of_now.keys() == of_then.keys()
    for name, sample in of_then.items():
        np.testing.assert_allclose(of_now[name].readout, sample.readout, atol=1e-5)
        np.testing.assert_allclose(of_now[name].maps, sample.maps, atol=1e-3)


def test_training_resumes_from_its_last_checkpoint(run: Path, run_training, tmp_path: Path) -> None:
    last = run / "checkpoints" / "last.ckpt"
    longer = [f"ckpt_path={last}", "trainer.max_epochs=6", "callbacks.early_stopping.patience=20"]
    with warnings.catch_warnings():
        # Lightning warns where the state of a callback finds no callback.
        warnings.filterwarnings("error", ".*callbacks used to create the checkpoint.*")
        result = run_training([*overrides_of(run), *longer], tmp_path)
    trained = read_result(run)
    assert result["train_seconds"] > trained["train_seconds"]  # both counts are resumed
    assert result["val/accuracy"] >= trained["val/accuracy"]  # the best checkpoint is taken along
    of_then = torch.load(last, weights_only=True)
    of_now = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert (of_then["epoch"], of_now["epoch"]) == (3, 5)
    assert of_now["global_step"] == of_then["global_step"] * 6 // 4


def test_a_checkpoint_is_resumed_with_all_callback_states(
    run: Path, run_training, tmp_path: Path
) -> None:
    """A run that was ended at its last epoch has nothing to train: its states are written again."""
    last = run / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    result = run_training([*overrides_of(run), f"ckpt_path={last}"], tmp_path)
    spent = next(state for name, state in saved["callbacks"].items() if "cpu_seconds" in state)
    assert result["cpu_seconds"] >= spent["cpu_seconds"]
    weights = [
        torch.load(best_checkpoint(folder), weights_only=True)["state_dict"]
        for folder in (run, tmp_path)
    ]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value)


def test_training_starts_from_its_weights(run: Path, run_training, tmp_path: Path) -> None:
    still = ["optimizer.lr=1e-30", "optimizer.weight_decay=0", "callbacks.ema=null"]
    run_training([*overrides_of(run), *still, f"init={run}", "trainer.max_epochs=1"], tmp_path)
    of_then = torch.load(best_checkpoint(run), weights_only=True)["state_dict"]
    of_now = torch.load(best_checkpoint(tmp_path), weights_only=True)["state_dict"]
    assert of_now.keys() == of_then.keys()
    for name in of_then:  # the statistics of batch norms follow each batch
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(of_now[name], of_then[name], rtol=0, atol=1e-12)


@pytest.mark.slow
def test_an_unfinished_run_is_resumed_in_its_folder(workspace: Path, tmp_path: Path) -> None:
    run = Path("outputs") / "nlp" / TIME
    unfinished = tmp_path / run
    shutil.copytree(run, unfinished, ignore=shutil.ignore_patterns("evaluations", "result.json"))
    shutil.copytree(workspace / "data", tmp_path / "data")
    done = run_script(["train.py", *overrides_of(run), "resume=auto"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_result(unfinished)["test/accuracy"] == read_result(run)["test/accuracy"]
    assert [folder.name for folder in unfinished.parent.iterdir()] == [TIME]
