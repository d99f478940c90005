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
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging

from attention_atlas.data.splits import stable_hash
from attention_atlas.pipeline.checkpoints import is_whole

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
        if trainer.global_rank > 0:  # the states are those of the first rank
            torch.manual_seed(stable_hash(torch.initial_seed(), trainer.global_step))
            return
        torch.set_rng_state(states["torch"].cpu())
        if torch.cuda.is_available() and states["cuda"]:
            torch.cuda.set_rng_state_all(states["cuda"])
        name, keys, *rest = states["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        version, internal, gauss = states["python"]
        random.setstate((version, tuple(internal), gauss))


class AveragedWeights(WeightAveraging):
    """Tests and keeps an exponential moving average of the weights (Polyak & Juditsky 1992).

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, or a short training would
    be tested on little more than its initial weights. Whole numbers are taken as they are: an
    average of indexes is none.

    Args:
        decay: Share of the old average that is kept at each step.
        every_n_steps: Average every so many steps, with the decay of as many; saves time.
    """

    def __init__(self, decay: float, every_n_steps: int = 4) -> None:
        self.decay = decay
        self.every_n_steps = every_n_steps
        super().__init__(use_buffers=True, multi_avg_fn=self._average)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Every few steps, from the first on."""
        return step_idx is not None and step_idx % self.every_n_steps == 0

    @torch.no_grad()
    def _average(self, averages: Any, values: Any, num_averaged: Any) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, values)
            return
        steps = int(num_averaged) * self.every_n_steps
        decay = min(self.decay, (1 + steps) / (10 + steps)) ** self.every_n_steps
        torch._foreach_lerp_(averages, values, 1 - decay)


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
