"""A finished run, rebuilt from its folder."""

from pathlib import Path

import pytest
import torch

from attention_atlas.errors import InputError
from attention_atlas.pipeline.build import build_task
from attention_atlas.pipeline.load_run import load_run


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


def test_an_unknown_sample_is_told(trained_runs: dict[str, Path]) -> None:
    run = load_run(trained_runs["vision"], with_data=True)
    with pytest.raises(InputError, match="no sample 'nobody'"):
        next(run.batches(["nobody"], 1))
