"""Training with sharded weights (FSDP: Zhao et al. 2023), in files that any process can read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import (
    FullStateDictConfig,
    FullyShardedDataParallel,
    OptimStateKeyType,
    StateDictType,
)
from torchmetrics import Metric

from attention_atlas.encoder.transformer import Block


class ShardedStrategy(FSDPStrategy):
    """Lightning's strategy with a unit for each block of the encoder.

    Checkpoints hold whole weights, which are read without unpickling. On a CPU it runs too, for
    trying it out.
    """

    def __init__(self) -> None:
        super().__init__(auto_wrap_policy={Block}, state_dict_type="full")

    def _setup_model(self, model: nn.Module) -> FullyShardedDataParallel:
        """Shard the model on its device; Lightning tells a number, which a CPU has not."""
        for part in model.modules():
            if isinstance(part, Metric):  # has no parameters, so nothing else moves it
                part.to(self.root_device)
        return FullyShardedDataParallel(
            model,
            mixed_precision=self.mixed_precision_config,
            sharding_strategy=self.sharding_strategy,
            device_id=self.root_device,
            **self.kwargs,
        )

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint on every rank, and give each its part of it."""
        content: dict[str, Any] = torch.load(
            checkpoint_path, map_location="cpu", weights_only=True, mmap=True
        )
        model = self.model
        assert isinstance(model, FullyShardedDataParallel)
        whole = FullStateDictConfig(rank0_only=False)
        with FullyShardedDataParallel.state_dict_type(model, StateDictType.FULL_STATE_DICT, whole):
            model.load_state_dict(content.pop("state_dict"))
            for optimizer, state in zip(
                self.optimizers, content.get("optimizer_states", []), strict=False
            ):
                optimizer.load_state_dict(_sharded(state, model, optimizer))
        return content


def _sharded(
    state: Mapping[str, Any], model: FullyShardedDataParallel, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The part of this rank of an optimizer's state, which is kept by the number of parameters."""
    named = FullyShardedDataParallel.rekey_optim_state_dict(
        dict(state), OptimStateKeyType.PARAM_NAME, model
    )
    return FullyShardedDataParallel.optim_state_dict_to_load(
        model=model, optim=optimizer, optim_state_dict=named
    )
