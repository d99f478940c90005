"""The weights that a training starts from: new, of a finished run, or of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.errors import InputError
from attention_atlas.pipeline.load_run import load_weights
from attention_atlas.pipeline.runs.checkpoints import latest_checkpoint, read_checkpoint
from attention_atlas.run_folder import best_checkpoint, read_classes
from attention_atlas.tasks import ClassificationTask


@dataclass(frozen=True)
class Weights:
    """Source of the weights that a training starts from.

    Attributes:
        run: The run folder that they come from: the one that is resumed, or `init`; None otherwise.
        checkpoint: The checkpoint to resume from, with the states of the optimizer and of the
            callbacks; None for a training that starts at its first step.
    """

    run: Path | None = None
    checkpoint: Path | None = None

    @property
    def are_new(self) -> bool:
        """Whether the model starts from the weights that it is built with."""
        return self.run is None and self.checkpoint is None

    def resumed(self) -> dict[str, Any] | None:
        """Return the checkpoint of the run that is resumed; None for another start."""
        if self.run is None or self.checkpoint is None:
            return None
        return read_checkpoint(self.checkpoint)

    def load_into(self, task: ClassificationTask, datamodule: AtlasDataModule) -> None:
        """Load the weights into a task; `Trainer.fit` restores the rest of a checkpoint.

        The head stays new if the data has other classes than `init`.

        Raises:
            InputError: They cannot be read or do not fit the model, or the data has changed.
        """
        if self.checkpoint is not None:
            if self.run is not None:
                self._check_same_data(datamodule)
            load_weights(task.model, self.checkpoint)
        elif self.run is not None:
            same_classes = datamodule.classes == read_classes(self.run)
            load_weights(task.model, best_checkpoint(self.run), with_head=same_classes)

    def _check_same_data(self, datamodule: AtlasDataModule) -> None:
        assert self.checkpoint is not None
        state = read_checkpoint(self.checkpoint).get(type(datamodule).__qualname__, {})
        if state.get("samples") != datamodule.samples_digest():
            raise InputError(
                f"The data has changed since {self.run} was started, and samples may have changed "
                "their split: leave resume=auto out, or take another folder."
            )


def find_weights(config: DictConfig, folder: Path) -> Weights:
    """Return the weights that the config asks for.

    A run that is resumed takes its own last checkpoint, whatever it was started from.
    """
    own = latest_checkpoint(folder) if config.resume == "auto" else None
    if own is not None:
        return Weights(folder, own)
    if config.init is not None:
        return Weights(run=Path(config.init))
    return Weights(checkpoint=None if config.ckpt_path is None else Path(config.ckpt_path))
