"""One forward pass of attention, and the observers that are notified of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from attention_atlas.attention.kernels import not_compiled
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.positions import Grid
from attention_atlas.attention.scores import Score
from attention_atlas.attention.shapes import Keys, Outputs, Queries, Values
from attention_atlas.attention.windowed import Window


class Pass(NamedTuple):
    """The inputs and the output of one forward pass of attention.

    Attributes:
        score: The score that compared queries and keys.
        query: As passed to the kernel, and so are `key`, `value` and `mask`.
        output: Output of the kernel.
        dropout_p: Fraction of the weights that were dropped.
        padding: True where a query is padding; None if none is known to be.
        grid: Shape of the token grid; None in cross-attention.
        window: The keys that each query sees; None for all.
        weight: Lambda of differential attention; None for one map.
    """

    score: Score
    query: Queries
    key: Keys
    value: Values
    mask: Mask
    output: Outputs
    dropout_p: float = 0.0
    padding: Bool[Tensor, "batch queries"] | None = None
    grid: Grid | None = None
    window: Window | None = None
    weight: Float[Tensor, ""] | None = None


Observer = Callable[[Pass], None]


class Observers(tuple[Observer, ...]):
    """The observers of a module; a copy of the module has none."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Observers, ())


@contextmanager
def observe(module: nn.Module, observer: Observer) -> Iterator[None]:
    """Notify an observer of every pass of a module meanwhile."""
    _set(module, (*_observers(module), observer))
    try:
        yield
    finally:
        _set(module, tuple(other for other in _observers(module) if other is not observer))


def is_observed(module: nn.Module) -> bool:
    """Whether a module has observers."""
    return bool(_observers(module))


@not_compiled
def notify(module: nn.Module, seen: Pass) -> None:
    """Call all observers with a pass; `torch.compile` leaves this to Python."""
    for observer in _observers(module):
        observer(seen)


def _observers(module: nn.Module) -> tuple[Observer, ...]:
    observers: tuple[Observer, ...] = getattr(module, "observers", ())
    return observers


def _set(module: nn.Module, observers: tuple[Observer, ...]) -> None:
    if observers:
        module.observers = Observers(observers)  # type: ignore[assignment]
    elif hasattr(module, "observers"):
        del module.observers
