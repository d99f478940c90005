"""Taking back a start: what the run made goes, what the user owns stays."""

from pathlib import Path

import pytest

from attention_atlas.pipeline.runs.folder import FolderSnapshot


def start(folder: Path) -> None:
    """What Hydra writes before the job is called."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("seed: 0")
    (folder / "train.log").write_text("")


def test_a_start_goes_with_the_folders_made_for_it(tmp_path: Path) -> None:
    before = FolderSnapshot(tmp_path / "outputs" / "nlp" / "12-00-00")
    run = tmp_path / "outputs" / "nlp" / "12-00-01"  # a second later than it was checked
    start(run)
    before.restore(run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tokenizer.json", "token_pairs.npy", "images.json", "pretrained"])
def test_what_was_learned_from_the_data_goes_too(name: str, tmp_path: Path) -> None:
    before = FolderSnapshot(tmp_path / "run")
    start(tmp_path / "run")
    (tmp_path / "run" / name).write_text("")
    before.restore(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_other_runs_stay(tmp_path: Path) -> None:
    start(tmp_path / "nlp" / "one")
    before = FolderSnapshot(tmp_path / "nlp" / "two")
    start(tmp_path / "nlp" / "two")
    before.restore(tmp_path / "nlp" / "two")
    assert [path.name for path in (tmp_path / "nlp").iterdir()] == ["one"]


def test_a_folder_for_checkpoints_goes_where_none_was_saved(tmp_path: Path) -> None:
    before = FolderSnapshot(tmp_path / "run")
    start(tmp_path / "run")
    (tmp_path / "run" / "checkpoints").mkdir()
    before.restore(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", "checkpoints/last.ckpt"])
def test_a_folder_with_anything_else_stays(name: str, tmp_path: Path) -> None:
    before = FolderSnapshot(tmp_path / "run")
    start(tmp_path / "run")
    (tmp_path / "run" / name).mkdir(parents=True)
    before.restore(tmp_path / "run")
    assert (tmp_path / "run" / ".hydra" / "config.yaml").is_file()


def test_a_folder_that_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    before = FolderSnapshot(tmp_path / "mine")
    start(tmp_path / "mine")
    before.restore(tmp_path / "mine")
    assert (tmp_path / "mine" / "train.log").is_file()


def test_a_folder_elsewhere_stays(tmp_path: Path) -> None:
    before = FolderSnapshot(tmp_path / "outputs" / "nlp" / "run")
    start(tmp_path / "elsewhere")
    before.restore(tmp_path / "elsewhere")
    before.restore(tmp_path)
    assert (tmp_path / "elsewhere" / "train.log").is_file()


def test_a_job_of_a_sweep_goes_and_its_sweep_stays_with_other_jobs(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "now"
    before = FolderSnapshot(sweep)
    start(sweep / "good")
    (sweep / "good" / "result.json").write_text("{}")
    (sweep / "multirun.yaml").write_text("")
    start(sweep / "bad")
    before.restore(sweep / "bad")
    assert sorted(path.name for path in sweep.iterdir()) == ["good", "multirun.yaml"]
