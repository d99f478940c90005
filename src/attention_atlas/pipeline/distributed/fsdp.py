"""Training with sharded weights (FSDP: Zhao et al. 2023), in files that any process can read."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    FullyShardedDataParallel,
    OptimStateKeyType,
    StateDictType,
)
from torch.optim import Optimizer
from torchmetrics import Metric

from attention_atlas.encoder.transformer import Block
from attention_atlas.pipeline.runs.training_files import rename_callbacks


class ShardedStrategy(FSDPStrategy):
    """Lightning's FSDP strategy with one unit for each block of the encoder.

    Checkpoints hold full weights, which are read without unpickling. It also runs on a CPU, for
    tests.
    """

    def __init__(self) -> None:
        super().__init__(auto_wrap_policy={Block}, state_dict_type="full")

    def _setup_model(self, model: nn.Module) -> FullyShardedDataParallel:
        """Shard the model on its device; Lightning passes a device index, which a CPU lacks."""
        # Lightning has no public method for it; a test in test_distributed.py watches this one.
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

    def optimizer_state(self, optimizer: Optimizer | LightningOptimizer) -> dict[str, Any]:
        """Return the full state of an optimizer, by parameter index, on the first rank."""
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        model = self._sharded_model()
        with self._whole(rank0_only=True):
            state: dict[str, Any] = FullyShardedDataParallel.optim_state_dict(model, optimizer)
        if self.global_rank > 0:
            return state
        return FullyShardedDataParallel.rekey_optim_state_dict(
            state, OptimStateKeyType.PARAM_ID, model
        )

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint on every rank, and load the shard of the rank."""
        content = rename_callbacks(
            torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        )
        model = self._sharded_model()
        with self._whole(rank0_only=False):
            model.load_state_dict(content.pop("state_dict"))
            states = content.get("optimizer_states", [])
            for optimizer, state in zip(self.optimizers, states, strict=False):
                named = FullyShardedDataParallel.rekey_optim_state_dict(
                    state, OptimStateKeyType.PARAM_NAME, model
                )
                own = FullyShardedDataParallel.optim_state_dict_to_load(
                    model=model, optim=optimizer, optim_state_dict=named
                )
                optimizer.load_state_dict(own)
        return content

    def _sharded_model(self) -> FullyShardedDataParallel:
        assert isinstance(self.model, FullyShardedDataParallel)
        return self.model

    def _whole(self, rank0_only: bool) -> AbstractContextManager[Any]:
        """Select full state dicts.

        torch gathers the tensors of an optimizer one by one in the same memory, and copies them
        only if that is on another device than the requested one, or if none is requested.
        """
        offload = self.root_device.type != "cpu"
        return FullyShardedDataParallel.state_dict_type(
            self._sharded_model(),
            StateDictType.FULL_STATE_DICT,
            FullStateDictConfig(offload_to_cpu=offload, rank0_only=rank0_only),
            FullOptimStateDictConfig(offload_to_cpu=offload, rank0_only=rank0_only),
        )
