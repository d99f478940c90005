"""Callbacks that measure and log the progress of a training."""

import logging
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar, Timer

from attention_atlas.pipeline.process import cpu_seconds


class Timing(Callback):
    """Measures wall-clock and CPU time, and saves both in checkpoints.

    A resumed run continues both counts; time after the last checkpoint of an interrupted run is
    not counted.
    """

    def __init__(self) -> None:
        self._timer = Timer()  # as a base class it would make Lightning ignore trainer.max_time
        self._cpu_seconds_before = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._timer.on_train_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._timer.on_train_end(trainer, pl_module)

    def so_far(self) -> dict[str, float]:
        """Return the wall-clock seconds of training, and the CPU seconds since the start."""
        return {
            "train_seconds": round(self._timer.time_elapsed(), 1),
            "cpu_seconds": round(self._cpu_seconds_before + cpu_seconds(), 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return both counts."""
        return self._timer.state_dict() | {"cpu_seconds": self.so_far()["cpu_seconds"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the counts of a checkpoint."""
        self._timer.load_state_dict(state_dict)
        self._cpu_seconds_before = float(state_dict["cpu_seconds"])


log = logging.getLogger(__name__)


class EpochLogger(Callback):
    """Logs one line per epoch, and prints it if there is no progress bar.

    Args:
        show: Whether to print the lines.
    """

    def __init__(self, show: bool) -> None:
        self.show = show
        self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log epoch, losses and seconds."""
        shown = ("train/loss", "val/loss", "val/accuracy")
        values = [
            f"{name} {float(trainer.callback_metrics[name]):.4f}"
            for name in shown
            if name in trainer.callback_metrics
        ]
        seconds = time.perf_counter() - self._started
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        line = f"{epoch}  {'  '.join(values)}  {seconds:.0f} s"
        log.info(line)
        if self.show:
            try:
                print(line, flush=True)
            except OSError:  # nobody reads it any more, and the training is worth more
                self.show = False


class EpochBar(RichProgressBar):
    """A progress bar that counts epochs from 1, as the lines of `EpochLogger` do."""

    def _get_train_description(self, current_epoch: int) -> str:
        width = len(self.validation_description)  # the bars of training and validation line up
        return f"{f'Epoch {current_epoch + 1}/{self.trainer.max_epochs}':{width}}"
