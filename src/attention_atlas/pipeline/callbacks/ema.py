"""Averaged weights, which are validated and tested."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging


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
            torch._foreach_copy_(averages, values)
            return
        steps = int(num_averaged) * self.every_n_steps
        decay = min(self.decay, (1 + steps) / (10 + steps)) ** self.every_n_steps
        torch._foreach_lerp_(averages, values, 1 - decay)
