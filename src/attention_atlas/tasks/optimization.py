"""Which parameters decay, and how the learning rate moves."""

import math
from collections import defaultdict
from collections.abc import Mapping, Set
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

SHARD = "_fsdp_wrapped_module."  # stands in the names of parameters that are sharded


def decayed_names(module: nn.Module) -> set[str]:
    """Names of the weights that decay; norms, biases, positions, learned tokens and scores do not.

    Matrices are what weight decay regularises. A norm's scale, a bias or a position has no reason
    to be pulled to zero, and a score (its vector, matrix, temperature or feature map, or what
    weighs two maps against each other) would become flat by it.
    """
    return {name for name, parameter in module.named_parameters() if _decays(name, parameter)}


def parameter_groups(
    module: nn.Module,
    weight_decay: float,
    decayed: Set[str] | None = None,
    rates: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """The parameters that decay and those that do not, apart where they have another rate.

    Args:
        module: Whose parameters they are.
        weight_decay: Of those that decay.
        decayed: Their names, where the module is sharded and its matrices have lost their shape.
        rates: Learning rates, by name, of parameters that do not take that of the optimizer.
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
    kept = ("position", "position_embeddings", "query", "token")  # the second as in ViT
    return parameter.ndim >= 2 and not name.endswith(kept)


def cosine(
    optimizer: Optimizer, num_steps: float, warmup: float = 0.1, final: float = 0.0
) -> LambdaLR:
    """A linear warm-up, then half a cosine (Loshchilov & Hutter 2017).

    Args:
        optimizer: Its learning rates are the peak.
        num_steps: Steps of the whole training; infinite while a learning rate is searched.
        warmup: Share of the steps that warm up.
        final: Where the cosine ends, as a share of the peak.
    """
    num_warmup = warmup * num_steps

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / (num_warmup + 1)
        progress = (step - num_warmup) / max(num_steps - num_warmup, 1)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, num_steps: float, warmup: float = 0.0) -> LambdaLR:
    """A linear warm-up, then the same learning rate to the end.

    Args:
        optimizer: Its learning rates are kept.
        num_steps: Steps of the whole training; infinite while a learning rate is searched.
        warmup: Share of the steps that warm up.
    """
    num_warmup = warmup * num_steps
    return LambdaLR(optimizer, lambda step: min((step + 1) / (num_warmup + 1), 1.0))
