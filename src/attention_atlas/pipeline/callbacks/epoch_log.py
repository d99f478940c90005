"""One line of text per epoch."""

import logging
import time

from lightning.pytorch import Callback, LightningModule, Trainer

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
            print(line)
