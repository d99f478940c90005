"""Training: reproducible, resumable anywhere, and every option changes the result."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from attention_atlas.analysis.confusion import confusion_of
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build import build_task
from attention_atlas.pipeline.build_model import build_datamodule
from attention_atlas.pipeline.process import cpu_seconds
from tests.pipeline.conftest import losses

EVERY_STEP = ["trainer.log_every_n_steps=1", "capture=off"]
RANDOM = {  # dropout, augmentation and, for text, pooling by length
    "nlp": ["augmentation=text", "encoder.dropout=0.2"],
    "vision": ["augmentation=image", "encoder.dropout=0.2", "encoder.drop_path=0.1"],
    "speech": ["augmentation=audio", "encoder.dropout=0.2"],
}


@pytest.fixture(params=["nlp", "vision", "speech"])
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.slow
def test_a_seed_reproduces_a_run_bit_for_bit(task, tiny, run_training, tmp_path: Path) -> None:
    overrides = [*tiny[task], *RANDOM[task], *EVERY_STEP]
    first = run_training(overrides, tmp_path / "first")
    second = run_training(overrides, tmp_path / "second")
    assert losses(tmp_path / "first") == losses(tmp_path / "second")
    assert first["test/loss"] == second["test/loss"]
    other = run_training([*overrides, "seed=1"], tmp_path / "other")
    assert other["test/loss"] != first["test/loss"]


@pytest.mark.parametrize("where", ["between epochs", "inside an epoch"])
@pytest.mark.slow
def test_a_resumed_run_ends_as_if_nothing_had_happened(
    task, where, tiny, run_training, tmp_path: Path
) -> None:
    overrides = [*tiny[task], *RANDOM[task], *EVERY_STEP, "trainer.max_epochs=3"]
    whole = run_training(overrides, tmp_path / "whole")
    steps = losses(tmp_path / "whole")

    stop = len(steps) // 3 if where == "between epochs" else len(steps) // 3 + 2
    rhythm = "every_n_epochs" if where == "between epochs" else "every_n_train_steps"
    save = [
        "+callbacks.all._target_=lightning.pytorch.callbacks.ModelCheckpoint",
        f"+callbacks.all.{rhythm}=1",
        "+callbacks.all.save_top_k=-1",
        f"+callbacks.all.dirpath={tmp_path}/all",
        "+callbacks.all.filename='{step}'",
        "+callbacks.all.auto_insert_metric_name=false",
    ]
    run_training([*overrides, *save], tmp_path / "saved")
    checkpoint = tmp_path / "all" / f"{stop}.ckpt"
    assert checkpoint.is_file(), sorted((tmp_path / "all").iterdir())

    resumed = run_training([*overrides, f"ckpt_path={checkpoint}"], tmp_path / "resumed")
    again = losses(tmp_path / "resumed")
    assert len(again) == len(steps) - stop
    assert again == {step: loss for step, loss in steps.items() if step >= stop}
    assert resumed["test/loss"] == whole["test/loss"]


def test_a_resumed_run_adds_to_the_time_it_took(tiny, run_training, tmp_path: Path) -> None:
    first = run_training([*tiny["vision"], "trainer.max_epochs=1"], tmp_path / "first")
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    kept = checkpoint["callbacks"]["Timing"]
    elapsed = kept["time_elapsed"]
    assert 0 < elapsed["train"] <= first["train_seconds"] + 0.1  # rounded
    assert 0 < kept["cpu_seconds"] <= first["cpu_seconds"]
    kept["cpu_seconds"] += 3_600
    elapsed["train"] += 1_800
    torch.save(checkpoint, path)
    choice = [*tiny["vision"], "trainer.max_epochs=2", f"ckpt_path={path}"]
    resumed = run_training(choice, tmp_path / "resumed")
    assert kept["cpu_seconds"] < resumed["cpu_seconds"] < kept["cpu_seconds"] + 600
    assert elapsed["train"] < resumed["train_seconds"] < elapsed["train"] + 600


def test_a_time_limit_of_the_trainer_ends_training(tiny, run_training, tmp_path: Path) -> None:
    limit = ["+trainer.max_time=00:00:00:02", "trainer.max_epochs=2000"]
    result = run_training([*tiny["vision"], *limit, "callbacks.early_stopping=null"], tmp_path)
    assert 2 <= result["train_seconds"] < 30


def test_what_a_failed_job_took_is_not_counted_in_the_next(
    tiny, run_training, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="before the first validation"):
        run_training([*tiny["vision"], "trainer.max_epochs=0"], tmp_path)
    assert cpu_seconds() < 0.5


def test_checkpoints_hold_plain_containers(tiny, run_training, tmp_path: Path) -> None:
    run_training([*tiny["vision"], *EVERY_STEP], tmp_path)
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(tmp_path / "checkpoints" / name, weights_only=True)
        assert {"state_dict", "optimizer_states", "loops", "callbacks"} <= set(content)


def test_a_run_leaves_its_folder_complete(task, tiny, run_training, tmp_path: Path) -> None:
    run_training(tiny[task], tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    wanted = "task data attention encoder seed num_parameters train_seconds num_train_samples"
    assert {*wanted.split(), "test/accuracy", "test/macro_f1", "versions"} <= set(result)
    assert result["task"] == task
    confusion = confusion_of(result)
    assert confusion.support.sum() == result["num_test_samples"]
    correct = confusion.right.sum() / confusion.support.sum()
    assert result["test/accuracy"] == pytest.approx(correct)
    assert (tmp_path / "atlas.zarr" / "zarr.json").is_file()
    assert (tmp_path / "metrics.csv").is_file()


OPTIONS = {
    "vision": [
        "optimizer.lr=1e-4",
        "optimizer.weight_decay=5.0",
        "optimizer=sgd",
        "schedule=constant",
        "schedule.warmup=0.9",
        "schedule.final=0.5",
        "task.label_smoothing=0.4",
        "trainer.gradient_clip_val=0.01",
        "trainer.accumulate_grad_batches=2",
        "trainer.precision=bf16-mixed",
        "callbacks.ema=null",
        "lr_find=true",
        "attention=dot",
        "attention=cosine",
        "attention=multiplicative",
        "attention=additive",
        "attention.bias=false",
        "attention.dropout=0.5",
        "attention.num_kv_heads=1",
        "encoder.dropout=0.5",
        "encoder.drop_path=0.9 encoder.depth=2",
        "encoder.depth=0",
        "encoder.mlp_ratio=1.0",
        "encoder.readout=cls",
        "encoder.readout=mean",
        "encoder.head_dropout=0.5",
        "embedding.positions=sinusoidal",
        "embedding.stem=linear",
        "embedding.patch_size=8",
        "embedding.dropout=0.5",
        "augmentation=image",
        "augmentation=image_rand",
        "augmentation=mixup",
        "augmentation=cutmix",
    ],
    "nlp": [
        "augmentation=text",
        "embedding.init=random",
        "embedding.positions=sinusoidal",
        "data.max_length=8",
    ],
    "speech": [
        "augmentation=audio",
        "embedding=time_frequency",
        "embedding.patch_frames=8",
        "embedding.stem=linear",
        "data.num_mels=32",
    ],
}


@pytest.fixture(scope="module")
def plain_losses(tiny, run_training, tmp_path_factory) -> Callable[[str], float]:
    """The test loss of each task with no option changed."""

    @cache
    def plain_loss(task: str) -> float:
        overrides = [*tiny[task], "augmentation=none", *EVERY_STEP]
        return run_training(overrides, tmp_path_factory.mktemp("plain"))["test/loss"]

    return plain_loss


@pytest.mark.parametrize(
    ("task", "option"), [(task, option) for task in OPTIONS for option in OPTIONS[task]]
)
@pytest.mark.slow
def test_each_option_changes_the_result(
    task, option, tiny, run_training, plain_losses, tmp_path: Path
) -> None:
    overrides = [*tiny[task], "augmentation=none", *EVERY_STEP, *option.split()]
    assert run_training(overrides, tmp_path)["test/loss"] != plain_losses(task)


def test_early_stopping_ends_training(tiny, run_training, tmp_path: Path) -> None:
    stop = ["trainer.max_epochs=20", "optimizer.lr=0.0", "callbacks.early_stopping.patience=1"]
    overrides = [*tiny["vision"], *EVERY_STEP, "augmentation=none", "encoder.dropout=0.0", *stop]
    run_training([*overrides, "embedding.stem=linear"], tmp_path)
    steps_per_epoch = 5
    assert len(losses(tmp_path)) <= 3 * steps_per_epoch + 1


def test_the_best_checkpoint_on_validation_is_tested(tiny, run_training, tmp_path: Path) -> None:
    overrides = [*tiny["vision"], *EVERY_STEP, "trainer.max_epochs=4", "optimizer.lr=0.05"]
    run_training(overrides, tmp_path)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/accuracy")
    accuracies = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    checkpoint = next(v for k, v in best["callbacks"].items() if k.startswith("BestCheckpoint"))
    assert float(checkpoint["best_model_score"]) == pytest.approx(max(accuracies), abs=1e-6)


def test_balanced_weights_make_all_classes_count_alike(compose_train, tiny, tmp_path: Path) -> None:
    config = compose_train([*tiny["nlp"], "task.class_weights=balanced"], tmp_path)
    datamodule = build_datamodule(config)
    weights = build_task(config, datamodule).class_weights
    labels = datamodule.datasets["train"].labels
    totals = [labels.count(index) * float(weights[index]) for index in range(len(weights))]
    assert totals == pytest.approx([len(labels) / len(weights)] * len(weights))
    assert build_task(compose_train(tiny["nlp"], tmp_path), datamodule).class_weights is None
