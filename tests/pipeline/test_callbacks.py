"""Averaged weights, and the best checkpoint: what Lightning's own would get wrong."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch import nn
from torch.utils.data import DataLoader

from attention_atlas.errors import InputError
from attention_atlas.pipeline.build_model import build_datamodule
from attention_atlas.pipeline.callbacks import AveragedWeights, EpochBar
from attention_atlas.pipeline.callbacks.stopping import SIGNALS
from tests.pipeline.conftest import losses

LARGE = 2**40 + 1  # float32 cannot hold it


class Counter(LightningModule):
    """Its one weight is the number of steps taken."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("indexes", torch.tensor([LARGE, 3]))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return -self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.parametrize("every_n_steps", [1, 4])
def test_averages_follow_a_warm_up_and_leave_indexes_alone(
    every_n_steps: int, tmp_path: Path
) -> None:
    model = Counter()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        callbacks=[AveragedWeights(decay=0.9, every_n_steps=every_n_steps)],
    )
    trainer.fit(model, DataLoader(torch.zeros(40, 1)))

    average = 1.0  # after the first step
    for step in range(1 + every_n_steps, 41, every_n_steps):
        steps_averaged = step - 1
        decay = min(0.9, (1 + steps_averaged) / (10 + steps_averaged)) ** every_n_steps
        average = decay * average + (1 - decay) * step
    assert model.weight.item() == pytest.approx(average, rel=1e-5)
    assert model.indexes.tolist() == [LARGE, 3]


def test_each_epoch_counts_in_the_average(tmp_path: Path) -> None:
    model, seen = Counter(), []
    model.validation_step = lambda batch: seen.append(model.weight.item())  # of the average
    loader = DataLoader(torch.zeros(2, 1))
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        callbacks=[AveragedWeights(decay=0.9, every_n_steps=4)],
    )
    trainer.fit(model, loader, DataLoader(torch.zeros(1, 1)))
    assert len(set(seen)) == 3


@pytest.mark.parametrize("task", ["nlp", "vision"])
def test_the_default_recipe_learns_small_data(task, tiny, run_training, tmp_path: Path) -> None:
    overrides = [*tiny[task], "augmentation=none", "trainer.max_epochs=8", "capture=off"]
    assert run_training(overrides, tmp_path)["test/accuracy"] >= 0.8


def test_overfitting_sees_the_same_batches_again(compose_train, tiny, tmp_path: Path) -> None:
    overrides = [*tiny["nlp"], "debug=overfit"]
    config = compose_train(overrides, tmp_path)
    datamodule = build_datamodule(config)
    datamodule.trainer = Trainer(overfit_batches=3, logger=False, enable_checkpointing=False)

    def epoch(loader) -> list[list[str]]:
        return [batch["sample_id"] for batch, _ in zip(loader, range(3), strict=False)]

    loader = datamodule.train_dataloader()
    assert epoch(loader) == epoch(loader) == epoch(loader)


def test_resuming_after_a_limited_epoch_starts_the_next_one(
    tiny, run_training, tmp_path: Path
) -> None:
    limits = ["+trainer.limit_train_batches=3", "trainer.log_every_n_steps=1", "capture=off"]
    overrides = [*tiny["vision"], "augmentation=image", *limits, "trainer.max_epochs=3"]
    save = [
        "+callbacks.all._target_=lightning.pytorch.callbacks.ModelCheckpoint",
        "+callbacks.all.every_n_epochs=1",
        "+callbacks.all.save_top_k=-1",
        f"+callbacks.all.dirpath={tmp_path}/all",
        "+callbacks.all.filename='{step}'",
        "+callbacks.all.auto_insert_metric_name=false",
    ]
    run_training([*overrides, *save], tmp_path / "whole")
    run_training([*overrides, f"ckpt_path={tmp_path}/all/3.ckpt"], tmp_path / "resumed")
    whole, resumed = losses(tmp_path / "whole"), losses(tmp_path / "resumed")
    assert resumed == {step: loss for step, loss in whole.items() if step >= 3}


def test_the_last_checkpoint_is_saved_within_an_epoch_if_the_best_one_is(
    tiny, run_training, tmp_path: Path
) -> None:
    options = ["+callbacks.checkpoint.every_n_train_steps=1", "trainer.max_epochs=2", "capture=off"]
    run_training([*tiny["vision"], *options], tmp_path / "run")
    last, before = (
        torch.load(tmp_path / "run" / "checkpoints" / name, weights_only=True)["global_step"]
        for name in ("last.ckpt", "before-last.ckpt")
    )
    assert before == last - 1


def test_training_leaves_the_signal_handlers_of_the_process(
    tiny, run_training, tmp_path: Path
) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(getattr(signal, name)) for name in SIGNALS]

    before = handlers()
    run_training([*tiny["vision"], "capture=off"], tmp_path / "done")
    assert handlers() == before
    diverges = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null"]
    with pytest.raises(InputError, match="The loss became nan"):
        run_training([*tiny["vision"], *diverges], tmp_path / "failed")
    assert handlers() == before


def test_of_equal_epochs_the_one_with_the_lower_loss_is_kept(
    tiny, run_training, tmp_path: Path
) -> None:
    overrides = [*tiny["speech"], "trainer.max_epochs=6", "augmentation=none", "capture=off"]
    run_training(overrides, tmp_path)
    rows = [row.split(",") for row in (tmp_path / "metrics.csv").read_text().splitlines()]
    columns = [rows[0].index(name) for name in ("epoch", "val/accuracy", "val/loss")]
    epochs = [[row[column] for column in columns] for row in rows[1:]]
    scores = [(-float(acc), float(loss), int(epoch)) for epoch, acc, loss in epochs if acc]
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == min(scores)[2]


@pytest.mark.parametrize("max_epochs", [1, 12])
def test_a_progress_bar_counts_epochs_from_one(max_epochs: int) -> None:
    assert hasattr(RichProgressBar, "_get_train_description")  # what Lightning's bar calls
    bar = EpochBar()
    bar._trainer = SimpleNamespace(max_epochs=max_epochs, state=SimpleNamespace(fn="fit"))
    assert bar._get_train_description(0).rstrip() == f"Epoch 1/{max_epochs}"
    assert bar._get_train_description(max_epochs - 1).rstrip() == f"Epoch {max_epochs}/{max_epochs}"
