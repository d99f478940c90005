"""Parameter groups for weight decay, and learning rate schedules."""

import math
from collections import defaultdict
from collections.abc import Mapping, Set
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

SHARD = "_fsdp_wrapped_module."  # part of the names of sharded parameters


def decayed_names(module: nn.Module) -> set[str]:
    """Return the names of the weights that decay.

    Norms, biases, positions and learned tokens do not decay: weight decay regularises matrices.
    Neither do the parameters of a score (vector, matrix, temperature, feature map, weights of
    differential maps), which it would flatten.
    """
    return {name for name, parameter in module.named_parameters() if _decays(name, parameter)}


def parameter_groups(
    module: nn.Module,
    weight_decay: float,
    decayed: Set[str] | None = None,
    rates: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Group trainable parameters by weight decay and learning rate.

    Args:
        module: The model.
        weight_decay: Weight decay of the decayed parameters.
        decayed: Their names, if the module is sharded: shards have lost the shape of a matrix.
        rates: Learning rates, by parameter name, that differ from that of the optimizer.
    """
    decayed = decayed_names(module) if decayed is None else decayed
    rates = rates or {}
    groups: dict[tuple[float | None, bool], list[nn.Parameter]] = defaultdict(list)
    groups |= {(None, True): [], (None, False): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            name = name.replace(SHARD, "")
            groups[rates.get(name), name in decayed].append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0}
        | ({} if rate is None else {"lr": rate})
        for (rate, decays), parameters in groups.items()
    ]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix that weight decay regularises."""
    if {"score", "differential"} & set(name.split(".")):
        return False
    exempt = ("position", "position_embeddings", "query", "token")  # the second as in ViT
    return parameter.ndim >= 2 and not name.endswith(exempt)


def cosine(
    optimizer: Optimizer, num_steps: float, warmup: float = 0.1, final: float = 0.0
) -> LambdaLR:
    """Return a schedule of linear warm-up and half a cosine (Loshchilov & Hutter 2017).

    Args:
        optimizer: Has the peak learning rates.
        num_steps: Steps of the whole training; infinite in the learning rate finder.
        warmup: Fraction of the steps that warm up.
        final: Final learning rate, as a fraction of the peak.
    """
    num_warmup = warmup * num_steps

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / (num_warmup + 1)
        progress = (step - num_warmup) / max(num_steps - num_warmup, 1)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, num_steps: float, warmup: float = 0.0) -> LambdaLR:
    """Return a schedule of linear warm-up and a constant learning rate; arguments as `cosine`."""
    num_warmup = warmup * num_steps
    return LambdaLR(optimizer, lambda step: min((step + 1) / (num_warmup + 1), 1.0))
