"""What a run takes."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from attention_atlas.pipeline.cpu_time import cpu_seconds


class Cost(Callback):
    """Counts the seconds of a run, and keeps them in checkpoints: a resumed run goes on counting.

    What an interrupted run did after its last checkpoint is lost, and is not counted.
    """

    def __init__(self) -> None:
        self._before = {"train_seconds": 0.0, "cpu_seconds": 0.0}
        self._started: float | None = None
        self._trained = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop it."""
        self._trained, self._started = self._clock(), None

    def so_far(self) -> dict[str, float]:
        """Seconds of training by the clock, and of all processors from the start."""
        return {
            "train_seconds": round(self._before["train_seconds"] + self._clock(), 1),
            "cpu_seconds": round(self._before["cpu_seconds"] + cpu_seconds(), 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """What is kept in a checkpoint."""
        return self.so_far()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What the run had taken before."""
        self._before = {name: float(state_dict[name]) for name in self._before}

    def _clock(self) -> float:
        return self._trained if self._started is None else time.perf_counter() - self._started
