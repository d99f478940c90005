"""Callbacks of our own: what exact resuming needs, and a plain line per epoch."""

import logging
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

log = logging.getLogger(__name__)


class RandomStates(Callback):
    """Keeps the states of all random generators in checkpoints, as plain containers.

    A run that is resumed draws what the uninterrupted run would have drawn.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states of the generators of torch, CUDA, numpy and Python."""
        name, keys, position, has_gauss, gauss = np.random.get_state()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(name), np.asarray(keys).tolist(), position, has_gauss, gauss],
            "python": list(random.getstate()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states of a checkpoint until training goes on."""
        self._loaded = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the states as late as possible, so that nothing draws in between."""
        if self._loaded is None:
            return
        states, self._loaded = self._loaded, None
        torch.set_rng_state(states["torch"].cpu())
        if torch.cuda.is_available() and states["cuda"]:
            torch.cuda.set_rng_state_all(states["cuda"])
        name, keys, *rest = states["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        version, internal, gauss = states["python"]
        random.setstate((version, tuple(internal), gauss))


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best and the last checkpoint, also across a run that is resumed in a new folder.

    Lightning forgets the best score when the folder changes, and would then take a worse epoch for
    the best one. Here the best checkpoint so far is taken along.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy the best checkpoint of the run that is resumed, and remember its score."""
        best = Path(state_dict["best_model_path"])
        if best.is_file():
            assert self.dirpath is not None
            own = Path(self.dirpath) / best.name
            if own != best:
                own.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(best, own)
            score = state_dict["best_model_score"]
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": str(own),
                "kth_best_model_path": str(own),
                "best_k_models": {str(own): score},
                "last_model_path": "",
            }
        super().load_state_dict(state_dict)


class EpochLines(Callback):
    """A line per epoch in the log file; printed too where there is no progress bar.

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
        """Say how far training has come."""
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
