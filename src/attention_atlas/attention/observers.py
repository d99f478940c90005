"""What one forward pass of attention did, and who is shown it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from attention_atlas.attention.masks import Mask
from attention_atlas.attention.windows import Grid

if TYPE_CHECKING:
    from attention_atlas.attention.scores import Score


class Pass(NamedTuple):
    """What one forward pass of attention did.

    Attributes:
        score: What compared queries and keys.
        query: [B, H, Q, E], as the kernel got it.
        key: [B, num_kv_heads, K, E].
        value: [B, num_kv_heads, K, Ev].
        mask: Merged.
        output: [B, H, Q, Ev], of the kernel.
        dropout_p: Share of the weights that were dropped.
        padding: [B, Q], True where a query is padding; None where none is known to be.
        grid: Shape of the token grid; None in cross-attention.
        weight: Lambda of differential attention; None for one map.
    """

    score: Score
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Mask
    output: Tensor
    dropout_p: float = 0.0
    padding: Tensor | None = None
    grid: Grid | None = None
    weight: Tensor | None = None


Observer = Callable[[Pass], None]


class Observers(tuple[Observer, ...]):
    """Who is shown each pass of a module; a copy of the module is not observed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Observers, ())


def observe(module: nn.Module, observer: Observer) -> None:
    """Show an observer every pass of a module from now on."""
    _set(module, (*_of(module), observer))


def leave_off(module: nn.Module, observer: Observer) -> None:
    """Show an observer no more passes of a module."""
    _set(module, tuple(other for other in _of(module) if other is not observer))


def is_observed(module: nn.Module) -> bool:
    """Whether anybody is shown the passes of a module."""
    return bool(_of(module))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def show(module: nn.Module, seen: Pass) -> None:
    """Show a pass to all observers; torch.compile leaves this to Python."""
    for observer in _of(module):
        observer(seen)


def _of(module: nn.Module) -> tuple[Observer, ...]:
    observers: tuple[Observer, ...] = getattr(module, "observers", ())
    return observers


def _set(module: nn.Module, observers: tuple[Observer, ...]) -> None:
    if observers:
        module.observers = Observers(observers)  # type: ignore[assignment]
    elif hasattr(module, "observers"):
        del module.observers
