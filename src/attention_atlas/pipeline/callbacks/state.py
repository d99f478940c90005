"""Callbacks with a state in checkpoints: averaged weights and random generators."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from attention_atlas.data.splits import stable_hash


class AveragedWeights(WeightAveraging):
    """Tests and saves an exponential moving average of the weights (Polyak & Juditsky 1992).

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, or a short training would
    be tested with little more than its initial weights. Integers are copied: an average of
    indices has no meaning.

    Args:
        decay: Weight of the old average at each step.
        every_n_steps: Steps between two averages, with the decay of as many steps; saves time. In
            shorter epochs it averages once an epoch, so that each epoch changes the average.
    """

    def __init__(self, decay: float, every_n_steps: int = 4) -> None:
        self.decay = decay
        self.every_n_steps = every_n_steps
        super().__init__(use_buffers=True, multi_avg_fn=self._average)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Limit the interval to the steps of an epoch."""
        steps = trainer.num_training_batches / trainer.accumulate_grad_batches
        self.every_n_steps = max(1, int(min(self.every_n_steps, steps)))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return True every few steps, from the first on."""
        return step_idx is not None and step_idx % self.every_n_steps == 0

    @torch.no_grad()
    def _average(self, averages: Any, values: Any, num_averaged: Any) -> None:
        if not averages[0].is_floating_point():
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)
            return
        steps = int(num_averaged) * self.every_n_steps
        decay = min(self.decay, (1 + steps) / (10 + steps)) ** self.every_n_steps
        get_ema_multi_avg_fn(decay)(averages, values, num_averaged)  # type: ignore[no-untyped-call]


class RngState(Callback):
    """Saves the states of all random generators in checkpoints, as plain containers.

    A run that is resumed draws what the uninterrupted run would have drawn.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the generators of torch, CUDA, numpy and Python."""
        name, keys, position, has_gauss, gauss = np.random.get_state()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(name), np.asarray(keys).tolist(), position, has_gauss, gauss],
            "python": list(random.getstate()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hold the states of a checkpoint until training starts."""
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
