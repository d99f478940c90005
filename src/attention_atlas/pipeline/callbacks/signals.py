"""A training ends when it is asked to, and keeps what it has done."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from attention_atlas.pipeline.distributed.rank import is_first
from attention_atlas.pipeline.exits import SavedAndEnded
from attention_atlas.run_folder import LAST

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
"""Ctrl-C, what schedulers send, and what SLURM or submitit send before the time limit."""


class EndsOnSignal(Callback):
    """Saves a checkpoint after the current step and ends, where a signal asks for it.

    A second ctrl-C leaves at once. Several ranks ask each other every few steps, so that all save
    after the same one. A test has nothing to save and ends at once.

    Args:
        folder: Of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.checkpoint = folder / LAST
        self._received = 0
        self._steps = 0
        self._earlier: dict[int, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen, in place of Lightning, which would wait for the other ranks."""
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        self._listen(self._receive if stage == "fit" else self._leave)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Save and end, if so asked."""
        self._steps += 1
        number = self._agreed(trainer)
        if number and not trainer.fit_loop._should_accumulate():  # gradients are not saved
            trainer.save_checkpoint(self.checkpoint)
            raise SavedAndEnded(number, self.checkpoint)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End, if so asked."""
        if self._received:  # it came with the last step, and the last epoch was saved
            raise SavedAndEnded(self._received, self.checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen no more."""
        self._restore()

    def on_exception(self, trainer: Trainer, *_: Any) -> None:
        """Listen no more."""
        self._restore()

    def _listen(self, handler: Callable[[int, Any], None]) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # no other may
        for name in SIGNALS:
            if hasattr(signal, name):
                number = getattr(signal, name)
                self._earlier[number] = signal.signal(number, handler)

    def _leave(self, number: int, _: Any) -> None:
        raise SavedAndEnded(number, self.checkpoint if self.checkpoint.is_file() else None)

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
