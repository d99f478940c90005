"""What a run takes."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from attention_atlas.pipeline.process import cpu_seconds


class Cost(Callback):
    """Counts processor time beside that of the clock, and keeps both in checkpoints.

    So a resumed run goes on counting; what an interrupted run did after its last checkpoint is
    lost, and is not counted.
    """

    def __init__(self) -> None:
        self._timer = Timer()  # not one itself: Lightning would ignore trainer.max_time
        self._cpu_seconds_before = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._timer.on_train_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop it."""
        self._timer.on_train_end(trainer, pl_module)

    def so_far(self) -> dict[str, float]:
        """Seconds of training by the clock, and of all processors from the start."""
        return {
            "train_seconds": round(self._timer.time_elapsed(), 1),
            "cpu_seconds": round(self._cpu_seconds_before + cpu_seconds(), 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """What is kept in a checkpoint."""
        return self._timer.state_dict() | {"cpu_seconds": self.so_far()["cpu_seconds"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What the run had taken before."""
        self._timer.load_state_dict(state_dict)
        self._cpu_seconds_before = float(state_dict["cpu_seconds"])
