"""The checkpoints of a run: the best one, and the last one."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from attention_atlas.pipeline.runs.checkpoints import is_whole

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best and the last checkpoint, also across a run that is resumed in a new folder.

    Of epochs with the same score, the one with the lower validation loss is the better one.
    Lightning forgets the best score when the folder changes, and would then take a worse epoch for
    the best one; here the best checkpoint so far is taken along.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._best_loss = float("inf")
        self._resumed_step = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch, where validation is part of it."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what was validated, where that is not at the end of each epoch."""
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        """Keep the last checkpoint also where it is not the best: Lightning keeps it only then."""
        validated = self.monitor in trainer.callback_metrics
        if self.save_last and validated and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def check_monitor_top_k(self, trainer: Trainer, current: torch.Tensor | None = None) -> bool:
        """Whether this epoch is the best so far."""
        loss = float(trainer.callback_metrics.get("val/loss", float("inf")))
        tied = current is not None and bool(self.best_k_models) and current == self.best_model_score
        better = loss < self._best_loss if tied else super().check_monitor_top_k(trainer, current)
        if better:
            self._best_loss = loss
        return bool(better)

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        """Write what was logged so far: a run that goes on from here will not log it again."""
        for logger in trainer.loggers:
            logger.save()

    def state_dict(self) -> dict[str, Any]:
        """The state of Lightning's callback, and the loss that breaks ties."""
        return super().state_dict() | {"best_loss": self._best_loss}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember where the run is resumed."""
        self._resumed_step = checkpoint["global_step"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy the best checkpoint of the run that is resumed, and remember its score."""
        state_dict = dict(state_dict)
        best = Path(state_dict["best_model_path"])
        if best.name and self.dirpath is not None and not best.is_file():
            best = Path(self.dirpath) / best.name  # the run folder was moved
        if best.name and not is_whole(best):
            log.warning("%s is missing or damaged; the best of the epochs to come is kept.", best)
            return
        self._best_loss = state_dict.pop("best_loss")
        if self._is_of_then(best):
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

    def _is_of_then(self, best: Path) -> bool:
        """Whether the file is still the one of then: its run may have gone on to better ones."""
        if not best.name:
            return False
        step = torch.load(best, map_location="cpu", weights_only=True)["global_step"]
        return bool(step <= self._resumed_step)
