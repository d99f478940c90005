"""What a run takes."""

from typing import Any

from lightning.pytorch.callbacks import Timer

from attention_atlas.pipeline.cpu_time import cpu_seconds


class Cost(Timer):
    """Counts processor time beside that of the clock, and keeps both in checkpoints.

    So a resumed run goes on counting; what an interrupted run did after its last checkpoint is
    lost, and is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cpu_seconds_before = 0.0

    def so_far(self) -> dict[str, float]:
        """Seconds of training by the clock, and of all processors from the start."""
        return {
            "train_seconds": round(self.time_elapsed(), 1),
            "cpu_seconds": round(self._cpu_seconds_before + cpu_seconds(), 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """What is kept in a checkpoint."""
        return super().state_dict() | {"cpu_seconds": self.so_far()["cpu_seconds"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What the run had taken before."""
        super().load_state_dict(state_dict)
        self._cpu_seconds_before = float(state_dict["cpu_seconds"])
