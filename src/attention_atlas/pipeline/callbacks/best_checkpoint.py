"""The checkpoints of a run: the best one and the last one."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from attention_atlas.pipeline.runs.checkpoints import is_whole
from attention_atlas.run_folder import LAST

log = logging.getLogger(__name__)

BETWEEN_EPOCHS = ("every_n_train_steps", "train_time_interval")
"""Options of `ModelCheckpoint` by which it saves at other moments than the end of an epoch."""


class BestCheckpoint(ModelCheckpoint):
    """Saves the best checkpoint, also across a run that is resumed in a new folder.

    If two epochs have the same score, the one with the lower validation loss is better.
    Lightning forgets the best score when the folder changes, and would then replace the best
    checkpoint by a worse one; here the best checkpoint is copied to the new folder.

    Args:
        save_last: Whether `build_callbacks` adds a `LastCheckpoint`.
        options: The options of `ModelCheckpoint`.
    """

    def __init__(self, save_last: bool = True, **options: Any) -> None:
        super().__init__(**options)
        steps = {name: options[name] for name in BETWEEN_EPOCHS if name in options}
        self.last = LastCheckpoint(Path(self.dirpath or ""), **steps) if save_last else None
        self._best_loss = float("inf")
        self._resumed_step = 0
        self._resumed_folder: Path | None = None

    def check_monitor_top_k(self, trainer: Trainer, current: torch.Tensor | None = None) -> bool:
        """Return whether this epoch is the best so far."""
        loss = float(trainer.callback_metrics.get("val/loss", float("inf")))
        tied = current is not None and bool(self.best_k_models) and current == self.best_model_score
        better = loss < self._best_loss if tied else super().check_monitor_top_k(trainer, current)
        if better:
            self._best_loss = loss
        return bool(better)

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        """Write the logged values: a run that resumes here does not log them again."""
        for logger in trainer.loggers:
            logger.save()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of Lightning's callback, and the loss that breaks ties."""
        return super().state_dict() | {"best_loss": self._best_loss}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the step at which the run is resumed, and the folder of the checkpoint."""
        self._resumed_step = checkpoint["global_step"]
        self._resumed_folder = Path(trainer.ckpt_path).parent if trainer.ckpt_path else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy the best checkpoint of the resumed run, and restore its score."""
        state_dict = dict(state_dict)
        best = Path(state_dict["best_model_path"])
        if best.name and self._resumed_folder is not None and not best.is_file():
            best = self._resumed_folder / best.name  # the run folder was moved
        if best.name and not is_whole(best):
            log.warning("%s is missing or damaged; the best epoch from now on is saved.", best)
            return
        self._best_loss = state_dict.pop("best_loss")
        if self._is_of_resumed_step(best):
            assert self.dirpath is not None
            own = Path(self.dirpath) / best.name
            if own != best:
                own.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(best, own)
            score = state_dict["best_model_score"]
            state_dict |= {
                "dirpath": self.dirpath,
                "best_model_path": str(own),
                "kth_best_model_path": str(own),
                "best_k_models": {str(own): score},
                "last_model_path": "",
            }
        super().load_state_dict(state_dict)

    def _is_of_resumed_step(self, best: Path) -> bool:
        """Return False if the other run has since replaced its best checkpoint by a later one."""
        if not best.name:
            return False
        step = torch.load(best, map_location="cpu", weights_only=True)["global_step"]
        return bool(step <= self._resumed_step)


class LastCheckpoint(ModelCheckpoint):
    """Saves every epoch under the same name. Stateless: nothing is restored in a resumed run.

    Args:
        folder: The folder of the checkpoints.
        steps: When to save in place of the end of each epoch, as options of `ModelCheckpoint`.
    """

    def __init__(self, folder: Path, **steps: Any) -> None:
        super().__init__(folder, Path(LAST).stem, enable_version_counter=False, **steps)

    def state_dict(self) -> dict[str, Any]:
        """Return no state."""
        return {}
