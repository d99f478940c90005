"""The weights that a model of `transformers` returns itself, where it calls no function we see.

Such models have an attention of their own, as DeBERTa does, and return its weights when they are
asked by `output_attentions=True`. While they are watched they are asked so, and their output is
given on as if they had not been.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from attention_atlas.attention.observers import Watcher, WeightsPass
from attention_atlas.attention.selection import attends
from attention_atlas.attention.unseen import ATTENTION, innermost_names


@contextmanager
def returned_weights(model: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Ask the models of `transformers` in a model for the weights of attention of their own."""
    with ExitStack() as stack:
        for each in _models_with_own_attention(model):
            asking = _Asking(each, watcher)
            before = each.register_forward_pre_hook(asking.ask, with_kwargs=True)
            stack.callback(before.remove)
            # Of nested records the first to ask is the last to take.
            after = each.register_forward_hook(asking.take, prepend=True)
            stack.callback(after.remove)
        yield


def _models_with_own_attention(model: nn.Module) -> list[nn.Module]:
    """Return the outermost models of `transformers` all of whose attention is of their own."""
    library = sys.modules.get("transformers.modeling_utils")
    if library is None:
        return []
    found: list[nn.Module] = []
    inside: set[int] = set()
    for module in model.modules():
        if isinstance(module, library.PreTrainedModel) and id(module) not in inside:
            parts = list(module.modules())
            if any(map(_is_own, parts)) and not any(map(attends, parts)):
                found.append(module)
                inside |= {id(part) for part in parts}
    return [module for module in found if _can_be_asked(module)]


def _is_banded(model: nn.Module) -> bool:
    """Whether a model returns weights of a window, whose columns are not keys."""
    return type(model).__name__.startswith(("Longformer", "LED"))


def _is_own(module: nn.Module) -> bool:
    return ATTENTION.search(type(module).__name__) is not None


def _can_be_asked(model: nn.Module) -> bool:
    parameters = inspect.signature(model.forward).parameters
    return "output_attentions" in parameters or any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )


@dataclass
class _Asking:
    """Asks a model for its weights, and takes them out of its output."""

    model: nn.Module
    watcher: Watcher
    is_asked: bool = field(default=False, init=False)
    gives_tuple: bool = field(default=False, init=False)

    def ask(
        self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Add the options to the arguments of the model."""
        config: Any = self.model.config
        self.is_asked = bool(named.get("output_attentions") or config.output_attentions)
        self.gives_tuple = not named.get("return_dict", getattr(config, "return_dict", True))
        self.watcher.started = []
        return arguments, {**named, "output_attentions": True, "return_dict": True}

    def take(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """Notify of the weights, and return the output that the model would have given."""
        started, self.watcher.started = self.watcher.started or [], None
        weights = {
            name: value
            for name, value in sorted(output.items(), key=lambda item: "encoder" not in item[0])
            if name.endswith("attentions") and isinstance(value, tuple)
        }
        layers = self._layers(started)
        if any(weights.values()) and not _is_banded(self.model):
            self.watcher.seen.update(layers)
        for name, each, is_cross in [] if _is_banded(self.model) else _named(layers, weights):
            if isinstance(each, Tensor) and each.dim() == 4:
                is_square = each.shape[2] == each.shape[3] and not is_cross
                grid = (each.shape[3],) if is_square else None
                source = f"output_attentions of {type(self.model).__name__}"
                self.watcher.notify(name, WeightsPass(each, None, None, None, grid, source))
        if not self.is_asked:
            kept = {name: value for name, value in output.items() if name not in weights}
            output = type(output)(**kept)
        return output.to_tuple() if self.gives_tuple else output

    def _layers(self, started: list[str]) -> list[str]:
        """Return the names of the modules that attended, in the order in which they started."""
        own = innermost_names(name for name in started if _is_own(self.watcher.ran[name]))
        return [name for name in started if name in own]


def _named(
    layers: list[str], weights: Mapping[str, tuple[Any, ...]]
) -> Iterator[tuple[str, Any, bool]]:
    """Yield the name of the module, the weights, and whether they are of cross-attention.

    Modules are known by the order in which they ran: those of an encoder, then those of a decoder,
    whose layers attend to themselves and then to the encoder. Where numbers differ, the names are
    those of the output.
    """
    cross = weights.get("cross_attentions", ())
    own = [(name, each) for name, value in weights.items() for each in value if value is not cross]
    pairs: list[tuple[str, Any, bool]] = []
    remaining = list(cross)
    num_before = len(own) - len(cross)
    for place, (name, each) in enumerate(own):
        pairs.append((name, each, False))
        if remaining and place >= num_before:
            pairs.append(("cross_attentions", remaining.pop(0), True))
    if len(pairs) == len(layers):
        for layer, (_, each, is_cross) in zip(layers, pairs, strict=True):
            yield layer, each, is_cross
        return
    counts: dict[str, int] = {}
    for name, each, is_cross in pairs:
        counts[name] = counts.get(name, -1) + 1
        yield f"{name}.{counts[name]}", each, is_cross
