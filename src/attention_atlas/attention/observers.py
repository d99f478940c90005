"""Which module of a watched model is running, and who is notified when it attends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from attention_atlas.attention.kernels import not_compiled
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.positions import Grid
from attention_atlas.attention.scores import Score
from attention_atlas.attention.shapes import Keys, Map, Outputs, Queries, Values
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


class WeightsPass(NamedTuple):
    """One forward pass of attention that gave its weights itself.

    Attributes:
        weights: The map, as the model computed it; a part of the autograd graph of its output.
        value: What the weights average; None if it is not known.
        output: The average; None if it is not known.
        padding: As in `Pass`, and so is `grid`.
        source: Where the weights come from, in words.
    """

    weights: Map
    value: Values | None
    output: Outputs | None
    padding: Bool[Tensor, "batch queries"] | None
    grid: Grid | None
    source: str


Observer = Callable[[str, Pass | WeightsPass], None]


class OwnAttention(NamedTuple):
    """Results of softmax in a module with an attention of its own.

    Attributes:
        softmaxes: Results of softmax along the last axis.
        averaging: Those of them that something was multiplied by along this axis.
    """

    softmaxes: list[Tensor]
    averaging: list[Tensor]


class Running(NamedTuple):
    """A module of a watched model that is running, and the arguments that it was called with."""

    watcher: Watcher
    name: str
    module: nn.Module
    arguments: tuple[Any, ...]
    named: dict[str, Any]


class _Stack(threading.local):
    """The modules that are running in a thread, the innermost last."""

    def __init__(self) -> None:
        self.entries: list[Running] = []


_stack = _Stack()
_watchers: list[Watcher] = []


class Watcher:
    """Follows one model in one thread.

    Attributes:
        names: Names of the modules of the model, without wrappers.
        ran: Names of the modules that ran.
        seen: Names of the modules of which a pass was seen.
        own: What is computed in each module with an attention of its own that is running, the
            innermost last.
    """

    def __init__(self, names: dict[nn.Module, str], observer: Observer) -> None:
        self.names = names
        self.ran: dict[str, nn.Module] = {}
        self.seen: set[str] = set()
        self.own: list[OwnAttention] = []
        self._observer = observer
        self._thread = threading.get_ident()

    @contextmanager
    def follow(self, modules: list[nn.Module]) -> Iterator[None]:
        """Know which of the modules is running."""
        with ExitStack() as stack:
            for module in modules:
                before = module.register_forward_pre_hook(self._enter, with_kwargs=True)
                stack.callback(before.remove)
                after = module.register_forward_hook(self._leave, always_call=True)
                stack.callback(after.remove)
            _watchers.append(self)
            stack.callback(_watchers.remove, self)
            yield

    @not_compiled
    def _enter(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.is_followed():
            name = self.names.get(module)
            if name is not None:  # a copy of a model has its hooks too
                self.ran[name] = module
                _stack.entries.append(Running(self, name, module, arguments, named))

    @not_compiled
    def _leave(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        entries = _stack.entries
        for index in range(len(entries) - 1, -1, -1):
            if entries[index].watcher is self and entries[index].module is module:
                del entries[index]
                return

    def is_followed(self) -> bool:
        """Whether the calls of this thread are the watcher's."""
        # Checkpointing repeats a pass in a thread of autograd.
        return threading.get_ident() == self._thread or in_backward()

    def __reduce__(self) -> tuple[Any, ...]:
        return Watcher, ({}, _ignore)  # of a copy of a model

    def notify(self, name: str, seen: Pass | WeightsPass) -> None:
        """Notify the observer of a pass of a module."""
        self.seen.add(name)
        self._observer(name, seen)


def _ignore(name: str, seen: Pass | WeightsPass) -> None:
    """Observe nothing."""


def in_backward() -> bool:
    """Whether autograd is in a backward pass."""
    # torch has no public way; its own checkpointing asks so, and test_gradients.py watches it.
    return torch._C._current_graph_task_id() != -1


def is_watched() -> bool:
    """Whether any model is watched; `torch.compile` compiles again where this changes."""
    return bool(_watchers)


def innermost() -> Running | None:
    """Return the module that is running in this thread, of any model that is watched in it."""
    return _stack.entries[-1] if _stack.entries else None


def running() -> list[Running]:
    """Return the innermost running module of each model that is watched in this thread."""
    innermost = {entry.watcher: entry for entry in _stack.entries}
    return list(innermost.values())


@not_compiled
def notify(module: nn.Module | None, seen: Pass | WeightsPass) -> None:
    """Notify all who watch the module in this thread; the innermost that is running if None."""
    for entry in running():
        names = entry.watcher.names
        name = entry.name if module is None else names.get(module, entry.name)
        entry.watcher.notify(name, seen)
