"""Evaluating a finished run: rebuilt from its folder, which stays as it is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from attention_atlas import load_run
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


@pytest.mark.parametrize("damage", ["cut", "spoiled"])
def test_a_broken_checkpoint_is_refused(run: Path, damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    path = folder / "checkpoints" / "best.ckpt"
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        start = data.index(b"data.pkl") + 100
        path.write_bytes(data[:start] + b"\0" * 500 + data[start + 500 :])
    with pytest.raises(InputError, match=r"best\.ckpt (is not a checkpoint|cannot be read)"):
        evaluate(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("is_finished", "remedy"),
    [(True, "give the folder of a training run"), (False, "with resume=auto resumes it")],
)
def test_a_run_without_a_checkpoint_is_refused(
    run: Path, is_finished: bool, remedy: str, tmp_path: Path
) -> None:
    shutil.copytree(run, folder := tmp_path / "run")
    (folder / "checkpoints" / "best.ckpt").unlink()
    if not is_finished:
        (folder / "result.json").unlink()
    for use in (lambda: evaluate(folder, tmp_path / "out"), lambda: load_run(folder)):
        with pytest.raises(InputError, match=rf"no checkpoints/best\.ckpt, .*{remedy}\.$"):
            use()


def test_an_unfinished_run_is_tested_by_its_checkpoint(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    evaluate(run, tmp_path / "of finished")
    assert "is unfinished" not in capsys.readouterr().out
    shutil.copytree(run, folder := tmp_path / "run")
    (folder / "result.json").unlink()
    path = folder / "checkpoints" / "best.ckpt"
    torch.save(torch.load(path, weights_only=True) | {"epoch": 6}, path)
    evaluate(folder, tmp_path / "out")
    said = capsys.readouterr().out
    assert f"{folder} is unfinished: its checkpoint of epoch 7 is tested; the same command" in said


def test_samples_that_a_limit_leaves_out_are_not_counted_as_tested(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    number = read_result(run)["num_test_samples"]
    evaluate(run, tmp_path / "all")
    assert f"test split: {number} samples\n" in capsys.readouterr().out
    evaluate(run, tmp_path, "++trainer.limit_test_batches=1", "++data.eval_batch_size=5")
    assert f"test split: 5 of {number} samples\n" in capsys.readouterr().out


def test_resuming_from_a_checkpoint_that_does_not_fit_is_refused(
    run: Path, tiny, run_training, tmp_path: Path
) -> None:
    checkpoint = run / "checkpoints" / "last.ckpt"
    overrides = [*tiny["vision"], "encoder.depth=2", f"ckpt_path={checkpoint}"]
    with pytest.raises(InputError, match=r"last\.ckpt does not fit the config"):
        run_training(overrides, tmp_path)


def _new_files(task: str, source: Path, folder: Path) -> Path:
    """Other content of the form that a task was trained on, some of it of one class."""
    if task == "nlp":
        lines = source.read_text().splitlines()
        path = folder / "new.csv"
        path.write_text("\n".join([lines[0], *(f"new {line}" for line in lines[1:32])]) + "\n")
        return path
    shutil.copytree(source, folder / "new")
    for path in sorted((folder / "new").rglob("*.*"))[31:]:
        path.unlink()
    for label in (folder / "new").iterdir():
        if not list(label.iterdir()):
            label.rmdir()
    return folder / "new"


@pytest.mark.parametrize(("task", "data"), [("nlp", "csv"), ("vision", ""), ("speech", "")])
def test_new_files_are_all_tested(
    task: str, data: str, trained_runs, request, tmp_path: Path, capsys
) -> None:
    source = request.getfixturevalue(
        {"nlp": "reviews", "vision": "pictures", "speech": "sounds"}[task]
    )
    new = _new_files(task, source, tmp_path)
    result = evaluate(trained_runs[task], tmp_path / "out", f"++data.path={new}")
    assert (result["num_train_samples"], result["num_test_samples"]) == (0, 31)
    assert len(open_atlas(tmp_path / "out")) == 31
    said = capsys.readouterr().out
    assert f"all samples of {new} are tested" in said
    assert ("copies" in said) == (task != "nlp")
    assert "test split: 31 samples" in said


@pytest.mark.parametrize(("task", "files"), [("nlp", "reviews"), ("speech", "sounds")])
def test_files_that_were_moved_are_not_new(
    task: str, files: str, trained_runs, request, tmp_path: Path
) -> None:
    source = request.getfixturevalue(files)
    moved = tmp_path / "moved" / source.name
    moved.parent.mkdir()
    if source.is_dir():
        shutil.copytree(source, moved)
    else:
        shutil.copy(source, moved)
    run = trained_runs[task]
    result = evaluate(run, tmp_path / "out", f"++data.path={moved}")
    trained = read_result(run)
    names = ("num_train_samples", "num_test_samples", "test/accuracy", "test/loss")
    assert [result[name] for name in names] == [trained[name] for name in names]


@pytest.mark.parametrize(
    ("task", "files"), [("nlp", "reviews"), ("vision", "pictures"), ("speech", "sounds")]
)
def test_new_files_that_were_trained_on_are_counted(
    task: str, files: str, trained_runs, request, tmp_path: Path, capsys
) -> None:
    source, new = request.getfixturevalue(files), tmp_path / "new"
    if source.is_dir():
        shutil.copytree(source, new)
        for number, path in enumerate(sorted(new.rglob("*.*"))):
            path.rename(path.with_name(f"renamed{number}{path.suffix}"))
    else:
        new = tmp_path / "new.csv"
        new.write_text(source.read_text() + "a new text,good\n")
    evaluate(trained_runs[task], tmp_path / "out", f"++data.path={new}")
    number = read_result(trained_runs[task])["num_train_samples"]
    assert f"{number} of " in capsys.readouterr().out


def test_new_files_are_divided_where_a_split_is_named(
    trained_runs, reviews: Path, tmp_path: Path
) -> None:
    new = _new_files("nlp", reviews, tmp_path)
    arguments = (f"++data.path={new}", "split=test")
    result = evaluate(trained_runs["nlp"], tmp_path / "out", *arguments)
    assert result["num_test_samples"] < 10


def test_a_label_that_the_run_does_not_know_is_named(trained_runs, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text,label\na text,ugly\n")
    with pytest.raises(InputError, match=r"new\.csv, line 2: the label 'ugly' does not occur"):
        evaluate(trained_runs["nlp"], tmp_path / "out", f"++data.path={tmp_path / 'new.csv'}")


def test_data_that_has_changed_is_said(run: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    shutil.copytree(config.data.path, tmp_path / "pictures")
    config.data.path = str(tmp_path / "pictures")
    OmegaConf.save(config, path)
    evaluate(tmp_path / "run", tmp_path / "same")
    assert "has changed" not in capsys.readouterr().out
    (tmp_path / "pictures" / "left" / "0.png").unlink()
    evaluate(tmp_path / "run", tmp_path / "changed")
    assert "the data has changed since the run was trained" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_is_divided_by_the_rule_of_its_version(
    sounds: Path, tiny, run_training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    shutil.copytree(sounds, tmp_path / "sounds")
    for path in sorted((tmp_path / "sounds").rglob("*.wav")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    overrides = [*tiny["speech"], f"data.path={tmp_path / 'sounds'}"]
    with monkeypatch.context() as patch:
        patch.setattr("attention_atlas.data.base.SPLIT_VERSION", 1)
        first = run_training(overrides, tmp_path / "first")
    capsys.readouterr()
    again = evaluate(tmp_path / "first", tmp_path / "again")
    assert again["test/loss"] == pytest.approx(first["test/loss"])
    assert "has changed" not in capsys.readouterr().out
