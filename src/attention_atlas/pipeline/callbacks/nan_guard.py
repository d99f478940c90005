"""Stops a training whose loss is not finite."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from attention_atlas.errors import InputError


class NonFiniteLoss(Callback):
    """Ends a training whose loss became NaN or infinite, before a checkpoint is saved.

    On a GPU the losses are checked every few steps, because each check waits for the device.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, float, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Collect the loss of a step."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._losses.append((trainer.global_step, rate, loss.detach()))
        every = 1 if loss.device.type == "cpu" else trainer.log_every_n_steps  # type: ignore[attr-defined]
        if len(self._losses) >= every:
            self._check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the remaining losses before a checkpoint is saved."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        losses, self._losses = self._losses, []
        if not losses or bool(torch.isfinite(torch.stack([loss for *_, loss in losses])).all()):
            return
        step, rate, loss = next(entry for entry in losses if not torch.isfinite(entry[2]))
        raise InputError(
            f"The loss became {float(loss)} at step {step} (epoch {trainer.current_epoch + 1}), at "
            f"a learning rate of {rate:.3g}: lower optimizer.lr, raise schedule.warmup, or look "
            "at the data."
        )
