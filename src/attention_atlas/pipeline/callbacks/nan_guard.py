"""A training stops where its loss is no number any more."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from attention_atlas.errors import InputError


class StopsOnNonFinite(Callback):
    """Ends a training whose loss is no number any more, before that is saved.

    On a GPU the losses are looked at every few steps: each look waits for the device.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, float, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Take the loss of a step."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._losses.append((trainer.global_step, rate, loss.detach()))
        every = 1 if loss.device.type == "cpu" else trainer.log_every_n_steps  # type: ignore[attr-defined]
        if len(self._losses) >= every:
            self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what is left, before weights are saved."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        losses, self._losses = self._losses, []
        if not losses or bool(torch.isfinite(torch.stack([loss for *_, loss in losses])).all()):
            return
        step, rate, loss = next(entry for entry in losses if not torch.isfinite(entry[2]))
        raise InputError(
            f"The loss became {float(loss)} at step {step} (epoch {trainer.current_epoch + 1}), at "
            f"a learning rate of {rate:.3g}: lower optimizer.lr, raise schedule.warmup, or look "
            "at the data."
        )
