"""The classical baselines, and how train.py knows of them."""

import json
from pathlib import Path

import pytest

from attention_atlas.pipeline.baseline import run_baseline
from attention_atlas.pipeline.baseline_cache import known_baseline
from attention_atlas.pipeline.build_model import build_datamodule


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_ATLAS_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_a_baseline_is_measured_once_and_found_again(
    task: str, tiny, compose_train, tmp_path: Path
) -> None:
    config = compose_train(tiny[task], tmp_path)
    datamodule = build_datamodule(config)
    assert known_baseline(config, datamodule) is None
    measured = run_baseline(config, tmp_path)
    assert measured["test/accuracy"] > 0.8  # what tells the classes apart is plain to see
    assert json.loads((tmp_path / "baseline.json").read_text()) == measured
    assert known_baseline(config, datamodule) == measured


@pytest.mark.usefixtures("own_cache")
def test_a_baseline_counts_for_its_samples_and_split_only(
    tiny, compose_train, tmp_path: Path
) -> None:
    config = compose_train(tiny["vision"], tmp_path)
    measured = run_baseline(config, tmp_path)
    same = compose_train([*tiny["vision"], "data.batch_size=8"], tmp_path)
    assert known_baseline(same, build_datamodule(same)) == measured
    for change in ("seed=1", "data.image_size=8", "augmentation=none"):
        other = compose_train([*tiny["vision"], change], tmp_path)
        assert known_baseline(other, build_datamodule(other)) is None


@pytest.mark.usefixtures("own_cache")
def test_the_baselines_that_come_with_the_package_are_found(compose_train, tmp_path: Path) -> None:
    config = compose_train(["task=vision"], tmp_path)
    known = known_baseline(config, build_datamodule(config))
    assert known is not None
    assert known["model"] == "RBF SVM on principal components, 3 augmented copies"


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("limit", "compared"),
    [
        ("+trainer.limit_val_batches=10", {"val", "test"}),  # there is one
        ("+trainer.limit_val_batches=1", {"test"}),
        ("+trainer.limit_test_batches=1", {"val"}),
        ("debug=fast", set()),
    ],
)
def test_a_split_that_a_limit_cuts_is_not_compared(
    limit: str,
    compared: set[str],
    tiny,
    compose_train,
    run_training,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    run_baseline(compose_train(tiny["vision"], tmp_path), tmp_path)
    overrides = [*tiny["vision"], "+data.eval_batch_size=3", "capture=off", limit]
    result = run_training(overrides, tmp_path / "run")
    keys = {name for name in result["baseline"] or {} if "/" in name}
    assert {name.split("/")[0] for name in keys} == compared
    number = result["num_test_samples"]
    said = capsys.readouterr().out
    tested = 3 if "test" in limit else 9
    assert (f"tested on {tested} of {number} samples" in said) == ("test" not in compared)
    assert "not measured" not in said
