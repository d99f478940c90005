"""Two processes that train by DDP, or share a model by FSDP, and count the bytes that they send."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import DistributedDataParallel
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from attention_atlas.encoder import TransformerEncoder
from attention_atlas.encoder.tokens import Tokens
from attention_atlas.encoder.transformer import Block
from attention_atlas.pipeline.build import build_task, build_trainer
from attention_atlas.pipeline.build_model import build_datamodule

RANKS = 2


def run_two(function: Callable[..., dict[str, Any]], folder: Path, *arguments: Any) -> list[Any]:
    """Call a function in two processes of one group; return what each returns."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_rank, (port, folder, function, *arguments), RANKS)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]


def _rank(
    rank: int, port: int, folder: Path, function: Callable[..., dict[str, Any]], *arguments: Any
) -> None:
    # As torchrun starts a process.
    for name in ("RANK", "LOCAL_RANK"):
        os.environ[name] = str(rank)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ[name] = str(RANKS)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    os.environ["TORCHELASTIC_RUN_ID"] = "costs"
    found = function(*arguments)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    if dist.is_initialized():
        dist.destroy_process_group()


class _Traffic(Callback):
    """Counts the bytes of the gradients that go into each all-reduce of DDP."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self.batches: list[int] = []
        self.has_own_buckets = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = trainer.strategy.model
        model.register_comm_hook(self, _count)
        self.has_own_buckets = not model.gradient_as_bucket_view

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        self.batches.append(self.num_bytes)
        self.num_bytes = 0


def _count(traffic: _Traffic, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    traffic.num_bytes += bucket.buffer().nbytes
    return allreduce_hook(None, bucket)


def train_by_ddp(config: Any, folder: Path) -> dict[str, Any]:
    """Train by DDP; return the parameters and the bytes that were reduced after each batch."""
    task = build_task(config, build_datamodule(config))
    traffic = _Traffic()
    trainer = build_trainer(config, folder, [traffic], [])
    trainer.fit(task, build_datamodule(config))
    return {
        "parameters": sum(parameter.numel() for parameter in task.parameters()),
        "batches": traffic.batches,
        "has_own_buckets": traffic.has_own_buckets,
    }


def shard_by_fsdp(embed_dim: int, depth: int) -> dict[str, Any]:
    """Take a step with an encoder that is cut block by block, and one without communication."""
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    encoder = TransformerEncoder(embed_dim, 2, depth, dropout=0.0)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    root = sum(parameter.nbytes for parameter in encoder.norm.parameters())
    sent = _count_collectives()
    model = FullyShardedDataParallel(
        encoder,
        auto_wrap_policy=ModuleWrapPolicy({Block}),
        device_id=torch.device("cpu"),
        use_orig_params=True,
    )
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    sent.update(gathered=0, scattered=0)
    model(Tokens(torch.randn(2, 5, embed_dim))).values.sum().backward()
    traffic = dict(sent)
    optimizer.step()
    own = {
        "weights": sum(parameter.nbytes for parameter in model.parameters()),
        "gradients": _gradients(model),
        "moments": sum(
            state[name].nbytes
            for state in optimizer.state.values()
            for name in ("exp_avg", "exp_avg_sq")
        ),
    }
    optimizer.zero_grad()
    with model.no_sync():
        model(Tokens(torch.randn(2, 5, embed_dim))).values.sum().backward()
    return {
        "parameters": parameters,
        "root": root,
        **own,
        **traffic,
        "gradients_in_no_sync": _gradients(model),
        # Then Lightning enters `no_sync` of it while gradients are accumulated.
        "is_silenced": isinstance(model, DistributedDataParallel),
    }


def _gradients(model: torch.nn.Module) -> int:
    return sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)


def _count_collectives() -> dict[str, int]:
    """Count the bytes of whole units that FSDP gathers and scatters."""
    sent = {"gathered": 0, "scattered": 0}
    gather, scatter = dist.all_gather, dist.reduce_scatter_single

    def all_gather(parts: list[torch.Tensor], *rest: Any, **options: Any) -> Any:
        sent["gathered"] += sum(part.nbytes for part in parts)
        return gather(parts, *rest, **options)

    def reduce_scatter(
        output: torch.Tensor, whole: torch.Tensor, *rest: Any, **options: Any
    ) -> Any:
        sent["scattered"] += whole.nbytes
        return scatter(output, whole, *rest, **options)

    dist.all_gather, dist.reduce_scatter_single = all_gather, reduce_scatter
    return sent
