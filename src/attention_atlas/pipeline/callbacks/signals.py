"""Ends a training on a signal, after a checkpoint was saved."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from attention_atlas.pipeline.distributed.rank import is_first
from attention_atlas.pipeline.exits import Interrupted
from attention_atlas.run_folder import LAST

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
"""Ctrl-C, the signals of schedulers, and those of SLURM and submitit before the time limit."""


class SignalHandler(Callback):
    """Saves a checkpoint after the current step and ends, when a signal asks for it.

    A second ctrl-C ends at once. Several ranks agree every few steps, so that all save after the
    same one. A test has nothing to save and ends at once.

    Lightning installs handlers of its own before the hooks below run, and restores the earlier ones
    at the end, also after an error. Its own would wait for the other ranks.

    Args:
        folder: The folder of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.checkpoint = folder / LAST
        self._received = 0
        self._batches = 0
        self._global_step = 0

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers for a training."""
        _install(self._receive)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers for a training without a sanity check."""
        _install(self._receive)
        self._global_step = trainer.global_step

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers for a test."""
        _install(self._end)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Save and end, if a signal was received."""
        self._batches += 1
        stepped = trainer.global_step > self._global_step  # accumulated gradients are not saved
        self._global_step = trainer.global_step
        number = self._agreed(trainer)
        if number and stepped:
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted(number, self.checkpoint)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End, if a signal was received in the last step; the last epoch was saved."""
        if self._received:
            raise Interrupted(self._received, self.checkpoint)

    def _end(self, number: int, _: Any) -> None:
        raise Interrupted(number, self.checkpoint if self.checkpoint.is_file() else None)

    def _receive(self, number: int, _: Any) -> None:
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number
        if is_first() and number == signal.SIGINT:
            print("\nsaving after this step; ctrl-C again leaves at once", file=sys.stderr)

    def _agreed(self, trainer: Trainer) -> int:
        """Return the signal that any rank has received, 0 for none."""
        if trainer.world_size == 1:
            return self._received
        if self._batches % trainer.log_every_n_steps and self._batches > 1:  # type: ignore[attr-defined]
            return 0
        received = torch.tensor(self._received, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(received, reduce_op="max"))


def _install(handler: Any) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # Python allows handlers in the main thread only
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handler)
