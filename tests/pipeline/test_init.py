"""`init=RUN`: training starts from the weights of a finished run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attention_atlas.errors import InputError
from attention_atlas.pipeline.runs.checkpoints import read_checkpoint
from tests.commands import run_script

STILL = ["optimizer.lr=1e-30", "optimizer.weight_decay=0", "callbacks.ema=null", "capture=off"]
STILL += ["trainer.max_epochs=1"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_training_starts_where_the_run_ended(
    task, tiny, trained_runs, run_training, tmp_path
) -> None:
    run_training([*tiny[task], *STILL, f"init={trained_runs[task]}", "seed=5"], tmp_path)
    own, given = weights(tmp_path), weights(trained_runs[task])
    learned = [name for name in given if "running" not in name and "num_batches" not in name]
    for name in learned:  # all but the statistics of batch norms, which each batch moves
        torch.testing.assert_close(own[name], given[name], rtol=0, atol=1e-12)


@pytest.mark.slow
def test_it_is_tested_again_without_the_run_that_it_began_from(
    tiny, trained_runs, run_training, tmp_path
) -> None:
    shutil.copytree(trained_runs["vision"], tmp_path / "first")
    run_training([*tiny["vision"], *STILL, f"init={tmp_path / 'first'}"], tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    done = run_script(["evaluate.py", "run=second", "capture=off"], tmp_path)
    assert done.returncode == 0, done.stderr


def test_other_classes_get_a_new_head(tiny, trained_runs, run_training, tmp_path) -> None:
    draw = np.random.default_rng(1)
    for label in ("up", "down", "middle"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for index in range(20):
            pixels = draw.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{index}.png")
    run = trained_runs["vision"]
    data = f"data.path={tmp_path / 'pictures'}"
    run_training([*tiny["vision"], *STILL, data, f"init={run}"], tmp_path / "run")
    own, given = weights(tmp_path / "run"), weights(run)
    assert own["model.head.weight"].shape[0] == 3
    name = "model.readout.attention.in_proj_weight"
    assert torch.equal(own[name], given[name])


def test_texts_are_read_by_the_tokenizer_of_the_run(
    tiny, trained_runs, run_training, tmp_path
) -> None:
    rows = [f"quite another vocabulary {index},{('x', 'y')[index % 2]}" for index in range(60)]
    (tmp_path / "other.csv").write_text("\n".join(["text,label", *rows]))
    data = f"data.path={tmp_path / 'other.csv'}"
    run_training([*tiny["nlp"], *STILL, data, f"init={trained_runs['nlp']}"], tmp_path / "run")
    kept = [
        (run / "tokenizer.json").read_bytes() for run in (tmp_path / "run", trained_runs["nlp"])
    ]
    assert kept[0] == kept[1]


def test_weights_that_do_not_fit_are_reported(tiny, trained_runs, run_training, tmp_path) -> None:
    overrides = [*tiny["vision"], *STILL, f"init={trained_runs['vision']}", "encoder.depth=2"]
    with pytest.raises(InputError, match="does not fit the config"):
        run_training(overrides, tmp_path)


@pytest.mark.parametrize(
    ("init", "others", "message"),
    [
        ("nowhere", [], "init=nowhere is not a finished run"),
        ("unfinished", [], "init=unfinished is not a finished run: it has no result.json"),
        ("whole", ["ckpt_path={run}/checkpoints/last.ckpt"], "leave one of them out"),
        ("broken", [], "was cut off while it was written"),
    ],
)
def test_a_run_that_cannot_be_used_ends_in_a_one_line_error(
    init, others, message, tiny, trained_runs, tmp_path
) -> None:
    run = trained_runs["vision"]
    for name in ("unfinished", "whole", "broken"):
        shutil.copytree(run / "checkpoints", tmp_path / name / "checkpoints")
        shutil.copy(run / "result.json", tmp_path / name)
    (tmp_path / "unfinished" / "result.json").unlink()
    best = tmp_path / "broken" / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:1000])
    given = [other.format(run=tmp_path / "whole") for other in others]
    command = ["train.py", *tiny["vision"], f"init={init}", *given]
    done = run_script(command, tmp_path, torch=False)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()
