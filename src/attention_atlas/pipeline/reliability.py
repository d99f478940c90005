"""Callbacks that every training has: it ends when asked to, and stops where it cannot go on."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from attention_atlas.errors import InputError
from attention_atlas.pipeline.checkpoints import LAST
from attention_atlas.pipeline.endings import SavedAndEnded
from attention_atlas.pipeline.ranks import is_first

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Ctrl-C, what schedulers send, and what SLURM is told to send before the time limit."""


class EndsOnSignal(Callback):
    """Saves a checkpoint after the current step and ends, where a signal asks for it.

    A second ctrl-C leaves at once. Several ranks ask each other every few steps, so that all save
    after the same one.

    Args:
        folder: Of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.checkpoint = folder / LAST
        self._received = 0
        self._steps = 0
        self._earlier: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen, in place of Lightning."""
        if threading.current_thread() is not threading.main_thread():
            return  # no other may
        for name in SIGNALS:
            if hasattr(signal, name):
                number = getattr(signal, name)
                self._earlier[number] = signal.signal(number, self._receive)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Save and end, if so asked."""
        self._steps += 1
        number = self._agreed(trainer)
        if number:
            trainer.save_checkpoint(self.checkpoint)
            raise SavedAndEnded(number, self.checkpoint)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen no more."""
        self._restore()
        if self._received:  # it came with the last step, and the last epoch was saved
            raise SavedAndEnded(self._received, self.checkpoint)

    def on_exception(self, trainer: Trainer, *_: Any) -> None:
        """Listen no more."""
        self._restore()

    def _receive(self, number: int, _: Any) -> None:
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number
        if is_first() and number == signal.SIGINT:
            print("\nsaving after this step; ctrl-C again leaves at once", file=sys.stderr)

    def _agreed(self, trainer: Trainer) -> int:
        """The signal that any rank has received, 0 for none."""
        if trainer.world_size == 1:
            return self._received
        if self._steps % trainer.log_every_n_steps and self._steps > 1:  # type: ignore[attr-defined]
            return 0
        received = torch.tensor(self._received, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(received, reduce_op="max"))

    def _restore(self) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}


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


class StaysStopped(Callback):
    """Does not train on where a run that is resumed had been stopped early."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, if early stopping had run out of patience."""
        callbacks = trainer.early_stopping_callbacks
        if any(callback.wait_count >= callback.patience for callback in callbacks):
            trainer.should_stop = True
