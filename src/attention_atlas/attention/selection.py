"""Choose layers by name, and slices of what they compute by index."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Iterable, Sequence
from functools import cache
from types import CodeType, FunctionType
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from attention_atlas.attention.masks import Mask
from attention_atlas.attention.module import Attention
from attention_atlas.attention.torch_functions import ATTENTION_FUNCTIONS, is_attention

Layers = str | int | Sequence[str | int]


class LayerChoice:
    """Which modules are recorded.

    Args:
        names: Names of the modules that are known to attend.
        others: Names of all modules, which may attend in a way that is seen when they run.
        layers: Names, patterns or indexes of `names`; None for all.

    Raises:
        ValueError: There is no such module.
    """

    def __init__(self, names: Sequence[str], others: Sequence[str], layers: Layers | None) -> None:
        patterns: list[str] = []
        for layer in [layers] if isinstance(layers, str | int) else layers or ():
            if isinstance(layer, int):
                if not -len(names) <= layer < len(names):
                    raise ValueError(
                        f"There is no attention module with index {layer}: there are {len(names)}."
                    )
                patterns.append(names[layer])
            else:
                if not fnmatch.filter([*names, *others], layer):
                    raise ValueError(f"No attention module is named {layer!r}{hint(layer, names)}")
                patterns.append(layer)
        self.patterns = None if layers is None else patterns

    def takes(self, name: str) -> bool:
        """Whether a module is recorded."""
        patterns = self.patterns
        return patterns is None or any(fnmatch.fnmatchcase(name, each) for each in patterns)

    def missed(self, names: Iterable[str]) -> list[str]:
        """Return the patterns that match none of these names."""
        return [each for each in self.patterns or () if not fnmatch.filter(names, each)]


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module that is known to attend, by its name without wrappers.

    These are each `Attention`, `nn.MultiheadAttention`, and modules whose code calls the attention
    functions of torch or of `transformers`.
    """
    return {name: module for module, name in module_names(model).items() if attends(module)}


def module_names(model: nn.Module) -> dict[nn.Module, str]:
    """Return all modules with their names, without those of wrappers, in the order of the model.

    A model that has no name in itself is named `"attention"`.
    """
    names: dict[nn.Module, str] = {}

    def visit(module: nn.Module, name: str) -> None:
        names[module] = name or "attention"
        for part, child in module.named_children():
            if child not in names:
                visit(child, name if _wraps(module, part) else f"{name}.{part}".lstrip("."))

    visit(model, "")
    return names


def _wraps(owner: nn.Module, part: str) -> bool:
    """Whether a part of a module is the module that it wraps."""
    if isinstance(owner, nn.parallel.DistributedDataParallel | nn.DataParallel):
        return part == "module"
    if type(owner).__module__.startswith("peft."):
        return part in ("base_model", "model", "base_layer")
    return part in ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")


def attends(module: nn.Module) -> bool:
    """Whether a module is known to attend, by what the methods of its class call."""
    kind: Any = type(module)
    return _attends(kind)


@cache
def _attends(kind: type[nn.Module]) -> bool:
    if issubclass(kind, Attention | nn.MultiheadAttention):
        return True
    own = [
        base
        for base in kind.__mro__
        if issubclass(base, nn.Module) and not base.__module__.startswith(LIBRARIES)
    ]
    return any(_calls_attention(value, {}) for base in own for value in vars(base).values())


LIBRARIES = ("torch.nn.", "transformers.modeling_utils")
FUNCTIONS = {"ALL_ATTENTION_FUNCTIONS", *(function.__name__ for function in ATTENTION_FUNCTIONS)}


def _calls_attention(function: Any, known: dict[Any, bool]) -> bool:
    """Whether a function, or one of the same file that it calls, calls attention functions."""
    function = inspect.unwrap(function) if callable(function) else function
    if not isinstance(function, FunctionType):
        return False
    if function not in known:
        known[function] = False
        names = _names(function.__code__)
        helpers = [function.__globals__.get(name) for name in names]
        known[function] = bool(names & FUNCTIONS) or any(
            is_attention(helper)
            or (
                isinstance(helper, FunctionType)
                and helper.__module__ == function.__module__
                and _calls_attention(helper, known)
            )
            for helper in helpers
        )
    return known[function]


def _names(code: CodeType) -> set[str]:
    """Return all names in a function and in those defined in it."""
    inner = (_names(each) for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*inner)


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


def hint(name: str, names: Sequence[str]) -> str:
    """Return the end of an error message: the closest of some names."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"; did you mean {close[0]!r}?" if close else "."
