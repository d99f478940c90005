"""A finished run in Python, rebuilt from its folder: model, batches, predictions, classes."""

from pathlib import Path

import pytest
import torch

from attention_atlas import load_run
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build import build_task


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


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_a_fresh_model_has_nothing_of_what_the_run_started_from(
    task: str, trained_runs: dict[str, Path]
) -> None:
    run = load_run(trained_runs[task], with_data=True)
    fresh = dict(run.fresh_model(run.config.seed).named_parameters())
    torch.manual_seed(run.config.seed)
    start = dict(build_task(run.config, run.datamodule).model.named_parameters())
    compared = 0
    for name, weights in start.items():
        if weights.ndim < 2 or weights.numel() < 200 or weights.std() == 0:
            continue
        if not weights.requires_grad:
            continue  # a table of positions is the same for all
        pair = torch.stack([weights.detach().flatten(), fresh[name].detach().flatten()])
        assert abs(torch.corrcoef(pair)[0, 1]) < 0.35, name
        compared += 1
    assert compared >= 4
    again = dict(run.fresh_model(run.config.seed).named_parameters())
    assert all(torch.equal(again[name], weights) for name, weights in fresh.items())


def test_batches_hold_the_samples_that_were_asked_for(trained_runs: dict[str, Path]) -> None:
    run = load_run(trained_runs["nlp"], with_data=True)
    wanted = run.datamodule.datasets["test"].sample_ids[:5]
    batches = list(run.batches(wanted, 2))
    assert sorted(name for batch in batches for name in batch["sample_id"]) == sorted(wanted)
    assert [len(batch["label"]) for batch in batches] == [2, 2, 1]
    lengths = [int(length) for batch in batches for length in batch["lengths"]]
    assert lengths == sorted(lengths)


def test_an_unknown_sample_is_reported(trained_runs: dict[str, Path]) -> None:
    run = load_run(trained_runs["vision"], with_data=True)
    with pytest.raises(InputError, match="no sample 'nobody'"):
        next(run.batches(["nobody"], 1))
