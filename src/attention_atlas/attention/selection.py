"""Choose layers by name, and slices of what they compute by index."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from attention_atlas.attention.huggingface import NAME, calls_interface, implementation_of
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.module import Attention

Layers = str | int | Sequence[str | int]

# Attributes by which torch.compile, checkpointing and FSDP wrap a module.
WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")


def choose_layers(model: nn.Module, layers: Layers | None) -> dict[str, nn.Module]:
    """Return the modules chosen, by name, in the order of the model.

    Raises ValueError if a layer does not exist, or cannot be recorded.
    """
    modules = attention_modules(model)
    if not modules:
        raise ValueError(why_none(model))
    names = list(modules)
    chosen: set[str] = set(names) if layers is None else set()
    for layer in [layers] if isinstance(layers, (str, int)) else layers or ():
        if isinstance(layer, int):
            if not -len(names) <= layer < len(names):
                raise ValueError(
                    f"There is no attention module with index {layer}: there are {len(names)}."
                )
            chosen.add(names[layer])
        else:
            matches = fnmatch.filter(names, layer)
            if not matches:
                raise ValueError(f"No attention module is named {layer!r}{hint(layer, names)}")
            chosen.update(matches)
    found = {name: module for name, module in modules.items() if name in chosen}
    for name, module in found.items():
        _check_implementation(name, module)
    return found


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module that attends, by its name without wrappers.

    These are each `Attention`, and the modules of Hugging Face models that attend through the
    interface of `transformers`.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return attention_modules(model.module)
    compiled = getattr(model, "_orig_mod", None)
    if isinstance(compiled, nn.Module):
        return attention_modules(compiled)
    modules = {}
    for path, module in model.named_modules():
        if isinstance(module, Attention) or calls_interface(module):
            name = ".".join(part for part in path.split(".") if part not in WRAPPERS)
            modules[name or "attention"] = module
    return modules


def why_none(model: nn.Module) -> str:
    """Return the error message for a model without a module that attends."""
    name = type(model).__name__
    if hasattr(model, "set_attn_implementation"):
        return (
            f"{name} does not attend through the attention interface of transformers, so its maps "
            "cannot be recorded."
        )
    return f"{name} holds no Attention module to record."


def _check_implementation(name: str, module: nn.Module) -> None:
    implementation = implementation_of(module)
    if not isinstance(module, Attention) and implementation != NAME:
        raise ValueError(
            f"{name!r} attends by attn_implementation={implementation!r}, which cannot be "
            "recorded: call attention_atlas.pretrained.wire(model) first."
        )


def listed(choice: Any) -> Any:
    """Return one index as a list of one."""
    return [choice] if isinstance(choice, int) else choice


def index(choice: Sequence[int] | None, size: int, what: str) -> list[int] | None:
    """Return indexes counted from 0; ValueError if one does not exist."""
    if choice is None:
        return None
    for position in choice:
        if not -size <= position < size:
            raise ValueError(f"There is no {what} with index {position}: there are {size}.")
    return [position % size for position in choice]


def take(tensor: Shaped[Tensor, "*size"], *choices: list[int] | None) -> Shaped[Tensor, "*chosen"]:
    """Copy the entries chosen along the first axes; None means all."""
    copy = tensor.detach()
    for axis, choice in enumerate(choices):
        if choice is not None:
            positions = torch.tensor(choice, dtype=torch.long, device=copy.device)
            copy = copy.index_select(axis, positions)
    return copy.clone() if all(choice is None for choice in choices) else copy


def take_mask(mask: Mask, *choices: list[int] | None) -> Mask:
    """Copy the entries chosen of a mask's tensor; along an axis of 1 it is the same for all."""
    if mask.tensor is None:
        return mask
    broadcast = zip(mask.tensor.shape, choices, strict=False)
    return mask._replace(
        tensor=take(mask.tensor, *(choice if size > 1 else None for size, choice in broadcast))
    )


def hint(name: str, names: list[str]) -> str:
    """Return the end of an error message: the closest of some names."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"; did you mean {close[0]!r}?" if close else "."
