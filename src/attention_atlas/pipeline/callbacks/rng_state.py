"""Random generators in checkpoints."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from attention_atlas.data.splits import stable_hash


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
