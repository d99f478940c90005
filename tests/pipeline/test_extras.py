"""Choices that few runs make: other loggers, and the debug runs."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import losses


def test_tensorboard_gets_what_metrics_csv_gets(tiny, run_training, tmp_path: Path) -> None:
    run_training([*tiny["vision"], "logger=tensorboard", "capture=off"], tmp_path)
    events = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    assert any(b"train/loss" in path.read_bytes() for path in events)
    assert losses(tmp_path)


def test_debug_fast_runs_three_batches(tiny, run_training, tmp_path: Path) -> None:
    overrides = [*tiny["nlp"][:-1], "debug=fast", "trainer.log_every_n_steps=1"]
    run_training(overrides, tmp_path)
    assert len(losses(tmp_path)) == 3


@pytest.mark.slow
def test_debug_overfit_learns_its_batches_by_heart(tiny, run_training, tmp_path: Path) -> None:
    overrides = [*tiny["nlp"][:-1], "debug=overfit", "capture=off", "trainer.log_every_n_steps=1"]
    run_training([*overrides, "optimizer.lr=1e-2"], tmp_path)
    by_step = losses(tmp_path)
    assert float(by_step[max(by_step)]) < 0.1 * float(by_step[0])


def test_debug_profile_writes_the_time_of_each_step(tiny, run_training, tmp_path: Path) -> None:
    run_training([*tiny["vision"][:-1], "debug=profile", "capture=off"], tmp_path)
    assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()
    assert (tmp_path / "test-profile.txt").is_file()
