"""Evaluating a finished run: rebuilt from its folder, which stays as it is."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from attention_atlas.atlas import open_atlas
from attention_atlas.config.compose import (
    compose_config,
    config_folder,
    group_choices,
    without_hydra,
)
from attention_atlas.errors import InputError
from attention_atlas.pipeline.evaluate import evaluate_run
from attention_atlas.pipeline.evaluation_config import check_evaluation
from tests.commands import content

TRAINED = {}


@pytest.fixture(params=["nlp", "vision", "speech"])
def run(request, tiny, run_training, compose_train, tmp_path_factory):
    """A trained run of each task, as train.py leaves it."""
    task = request.param
    if task not in TRAINED:
        folder = tmp_path_factory.mktemp(task) / "run"
        result = run_training([*tiny[task], "capture.num_samples=4"], folder)
        save_config(compose_train([*tiny[task], "capture.num_samples=4"], folder), folder)
        TRAINED[task] = folder, result
    return TRAINED[task]


def save_config(config, folder: Path) -> None:
    config.run_folder = "${hydra:runtime.output_dir}"  # as train.yaml has it
    (folder / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")


def evaluate(repository: Path, run: Path, folder: Path, *overrides: str) -> dict[str, Any]:
    """What evaluate.py does, in this process."""
    with config_folder(repository / "conf"):
        config = compose_config("evaluate", [f"run={run}", *overrides])
        choices = group_choices(config)
    config = without_hydra(config)
    check_evaluation(config, choices)
    folder.mkdir(exist_ok=True)
    return evaluate_run(config, folder, choices)


def test_a_run_is_rebuilt_to_the_same_figures_and_left_alone(
    run, repository: Path, tmp_path: Path
) -> None:
    folder, trained = run
    before = content(folder)
    again = evaluate(repository, folder, tmp_path)
    assert content(folder) == before
    figures = [name for name in trained if name.startswith("test/")]
    assert {name: again[name] for name in figures} == {name: trained[name] for name in figures}
    assert len(open_atlas(tmp_path)) == len(open_atlas(folder))


@pytest.mark.parametrize("run", ["vision"], indirect=True)
def test_split_and_capture_can_be_chosen(run, repository: Path, tmp_path: Path) -> None:
    folder, _ = run
    result = evaluate(
        repository, folder, tmp_path, "split=val", "capture=full", "++capture.dtype=float32"
    )
    assert result["split"] == "val"
    assert "val/accuracy" in result
    assert "test/accuracy" not in result
    atlas = open_atlas(tmp_path)
    assert len(atlas) == result["num_val_samples"]
    assert all(atlas[index].maps is not None for index in range(len(atlas)))
    assert atlas[0].split == "val"


@pytest.mark.parametrize("run", ["vision"], indirect=True)
def test_a_single_value_of_the_run_can_be_changed(run, repository: Path, tmp_path: Path) -> None:
    folder, trained = run
    result = evaluate(repository, folder, tmp_path, "capture=off", "++data.batch_size=7")
    assert result["test/accuracy"] == trained["test/accuracy"]
    assert not (tmp_path / "atlas.zarr").exists()


@pytest.mark.parametrize("run", ["vision"], indirect=True)
def test_other_data_takes_the_form_that_the_model_knows(
    run, pictures: Path, repository: Path, tmp_path: Path
) -> None:
    folder, _ = run
    shutil.copytree(pictures, tmp_path / "other")
    for path in (tmp_path / "other").rglob("1*.png"):
        path.unlink()
    result = evaluate(
        repository,
        folder,
        tmp_path / "out",
        "data=image_folder",
        f"++data.path={tmp_path / 'other'}",
        "split=train",
    )
    assert result["train/accuracy"] >= 0
    assert result["num_train_samples"] < 100


@pytest.mark.parametrize("run", ["vision"], indirect=True)
def test_other_classes_are_refused(run, pictures, repository: Path, tmp_path: Path) -> None:
    folder, _ = run
    shutil.copytree(pictures, tmp_path / "other")
    (tmp_path / "other" / "left").rename(tmp_path / "other" / "up")
    override = f"++data.path={tmp_path / 'other'}"
    with pytest.raises(InputError, match=r"up.*left, right"):
        evaluate(repository, folder, tmp_path / "out", override)


@pytest.mark.parametrize("run", ["vision"], indirect=True)
def test_other_modalities_are_refused(run, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data=spoken_commands holds audio"):
        evaluate(repository, run[0], tmp_path, "data=spoken_commands")


@pytest.mark.parametrize("run", ["vision"], indirect=True)
def test_a_checkpoint_that_does_not_fit_is_refused(run, repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    config = OmegaConf.load(folder / ".hydra" / "config.yaml")
    config.encoder.embed_dim = 32
    save_config(config, folder)
    with pytest.raises(InputError, match=r"best\.ckpt does not fit the config: .* is \["):
        evaluate(repository, folder, tmp_path / "out")


@pytest.mark.parametrize("run", ["vision"], indirect=True)
@pytest.mark.parametrize("damage", ["cut", "spoiled", "gone"])
def test_a_broken_checkpoint_is_refused(run, damage: str, repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    path = folder / "checkpoints" / "best.ckpt"
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "spoiled":
        place = data.index(b"data.pkl") + 100
        path.write_bytes(data[:place] + b"\0" * 500 + data[place + 500 :])
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"best\.ckpt (does not exist|is no|cannot be read)"):
        evaluate(repository, folder, tmp_path / "out")


@pytest.mark.parametrize("run", ["vision"], indirect=True)
def test_resuming_from_a_checkpoint_that_does_not_fit_is_refused(
    run, tiny, run_training, tmp_path: Path
) -> None:
    checkpoint = run[0] / "checkpoints" / "last.ckpt"
    overrides = [*tiny["vision"], "encoder.depth=2", f"ckpt_path={checkpoint}"]
    with pytest.raises(InputError, match=r"last\.ckpt does not fit the config"):
        run_training(overrides, tmp_path)
