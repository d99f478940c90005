"""Evaluating a finished run: rebuilt from its folder, which stays as it is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from attention_atlas.atlas import open_atlas
from attention_atlas.errors import InputError
from tests.commands import content, evaluate


@pytest.fixture
def run(trained_runs: dict[str, Path]) -> Path:
    """The run folder of a model of images, which no test may write to."""
    return trained_runs["vision"]


def read_result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_a_run_is_rebuilt_to_the_same_figures_and_left_alone(
    task: str, trained_runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = trained_runs[task]
    trained = read_result(folder)
    before = content(folder)
    again = evaluate(folder, tmp_path)
    assert content(folder) == before
    figures = [name for name in trained if name.startswith("test/")]
    assert {name: again[name] for name in figures} == {name: trained[name] for name in figures}
    assert len(open_atlas(tmp_path)) == len(open_atlas(folder))


def test_split_and_capture_can_be_chosen(run: Path, tmp_path: Path) -> None:
    result = evaluate(run, tmp_path, "split=val", "capture=full", "++capture.dtype=float32")
    assert result["split"] == "val"
    assert "val/accuracy" in result
    assert "test/accuracy" not in result
    atlas = open_atlas(tmp_path)
    assert len(atlas) == result["num_val_samples"]
    assert atlas.mapped_sample_ids == atlas.sample_ids
    assert atlas[0].split == "val"


def test_a_single_value_of_the_run_can_be_changed(run: Path, tmp_path: Path) -> None:
    result = evaluate(run, tmp_path, "capture=off", "++data.batch_size=7")
    assert result["test/accuracy"] == read_result(run)["test/accuracy"]
    assert not (tmp_path / "atlas.zarr").exists()


def test_other_data_takes_the_form_that_the_model_knows(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "other")
    for path in (tmp_path / "other").rglob("1*.png"):
        path.unlink()
    result = evaluate(
        run,
        tmp_path / "out",
        "data=image_folder",
        f"++data.path={tmp_path / 'other'}",
        "split=train",
    )
    assert 0 < result["num_train_samples"] < 100


def test_other_classes_are_refused(run: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "other")
    (tmp_path / "other" / "left").rename(tmp_path / "other" / "up")
    override = f"++data.path={tmp_path / 'other'}"
    with pytest.raises(InputError, match=r"up.*left, right"):
        evaluate(run, tmp_path / "out", override)


def test_other_modalities_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data=spoken_commands holds audio"):
        evaluate(run, tmp_path, "data=spoken_commands")


def test_a_checkpoint_that_does_not_fit_is_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    config = OmegaConf.load(folder / ".hydra" / "config.yaml")
    config.encoder.embed_dim = 32
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    with pytest.raises(InputError, match=r"best\.ckpt does not fit the config: .* is \["):
        evaluate(folder, tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut", "spoiled", "gone"])
def test_a_broken_checkpoint_is_refused(run: Path, damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    path = folder / "checkpoints" / "best.ckpt"
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "spoiled":
        start = data.index(b"data.pkl") + 100
        path.write_bytes(data[:start] + b"\0" * 500 + data[start + 500 :])
    else:
        path.unlink()
    with pytest.raises(
        InputError, match=r"best\.ckpt (does not exist|is not a checkpoint|cannot be read)"
    ):
        evaluate(folder, tmp_path / "out")


def test_resuming_from_a_checkpoint_that_does_not_fit_is_refused(
    run: Path, tiny, run_training, tmp_path: Path
) -> None:
    checkpoint = run / "checkpoints" / "last.ckpt"
    overrides = [*tiny["vision"], "encoder.depth=2", f"ckpt_path={checkpoint}"]
    with pytest.raises(InputError, match=r"last\.ckpt does not fit the config"):
        run_training(overrides, tmp_path)
