"""A finished run in Python: its model, what prepares inputs for it, its classes and its atlas."""

from pathlib import Path

import pytest
import torch

from attention_atlas import load_run
from attention_atlas.errors import InputError


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_a_run_predicts_what_it_predicted_when_it_was_tested(
    task: str, trained_runs: dict[str, Path], pictures: Path, sounds: Path
) -> None:
    run = load_run(str(trained_runs[task]))
    samples = list(run.atlas)[:3]
    files = {"vision": pictures, "speech": sounds}
    inputs = [
        sample.text
        if task == "nlp"
        else files[task] / sample.sample_id.removeprefix("audio_folder/")
        for sample in samples
    ]
    batch = run.prepare(*inputs)
    with torch.no_grad():
        assert run.model(batch).shape == (len(samples), len(run.classes))
    assert run.classes == run.atlas.classes
    for sample, predicted in zip(samples, run.predict(*inputs), strict=True):
        assert list(predicted) == run.classes
        assert max(predicted, key=predicted.__getitem__) == sample.prediction_name
        assert list(predicted.values()) == pytest.approx(sample.probabilities.tolist(), abs=1e-3)


def test_the_last_run_is_loaded_by_its_name(
    trained_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "mine").symlink_to(trained_runs["nlp"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no finished run of vision"):
        load_run("last:vision")
    (tmp_path / "last").symlink_to(trained_runs["nlp"])
    assert load_run("last").folder == Path("last")


def test_no_input_is_refused(trained_runs: dict[str, Path]) -> None:
    with pytest.raises(InputError):
        load_run(trained_runs["nlp"]).prepare()
