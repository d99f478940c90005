"""The weights that modules of `transformers` return themselves, where they call no function we see.

Such modules have an attention of their own, as those of DeBERTa have, and return its weights, some
only when their model is asked by `output_attentions=True`. While they are watched the models are
asked so, and their output is given on as if they had not been. What a module returns is taken for
its map only where a softmax in it has computed it: some return scores, or weights of blocks. What
returns none has its map where the result of its only softmax is the first factor of a product.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attention_atlas.attention.observers import OwnAttention, Running, Watcher, WeightsPass
from attention_atlas.attention.selection import attends
from attention_atlas.attention.sequences import padding_and_grid
from attention_atlas.attention.torch_functions import watched_products
from attention_atlas.attention.unseen import is_named_attention

HEADS = ("num_attention_heads", "num_heads", "n_heads", "num_attn_heads", "n_head")
"""Attributes by which modules know the number of their heads."""


@contextmanager
def returned_weights(watcher: Watcher) -> Iterator[None]:
    """Notify of the weights that modules with an attention of their own return."""
    with ExitStack() as stack:
        asked = _models_with_own_attention(watcher.names)
        for each in asked:
            asking = _Asking(each)
            stack.callback(each.register_forward_pre_hook(asking.ask, with_kwargs=True).remove)
            # Of nested records the first to ask is the last to take.
            stack.callback(each.register_forward_hook(asking.take, prepend=True).remove)
        own = [module for module in watcher.names if _is_own(module)]
        if own:
            stack.enter_context(watched_products())
        looking = _Looking(watcher)
        for module in own:
            stack.callback(module.register_forward_pre_hook(looking.enter).remove)
            leaving = module.register_forward_hook(
                looking.leave, with_kwargs=True, always_call=True
            )
            stack.callback(leaving.remove)
        try:
            yield
        except Exception as error:
            if asked:
                names = ", ".join(dict.fromkeys(type(each).__name__ for each in asked))
                error.add_note(
                    f"record() called {names} with output_attentions=True, because their attention "
                    "is of their own. If they fail by that, they cannot be recorded."
                )
            raise


def _models_with_own_attention(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the models of `transformers` all of whose attention is of their own."""
    library = sys.modules.get("transformers.modeling_utils")
    if library is None:
        return []
    return [
        module
        for module in modules
        if isinstance(module, library.PreTrainedModel)
        and any(map(_is_own, module.modules()))
        and not any(map(attends, module.modules()))
        and _can_be_asked(module)
    ]


def _is_own(module: nn.Module) -> bool:
    return is_named_attention(type(module).__name__) and not attends(module)


def _can_be_asked(model: nn.Module) -> bool:
    parameters = inspect.signature(model.forward).parameters
    return "output_attentions" in parameters or any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )


@dataclass
class _Asking:
    """Asks a model for its weights, and takes them out of its output."""

    model: nn.Module
    is_asked: bool = field(default=False, init=False)
    gives_tuple: bool = field(default=False, init=False)

    def ask(
        self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Add the options to the arguments of the model."""
        config: Any = self.model.config
        names = inspect.signature(self.model.forward).parameters
        bound = dict(zip(names, arguments, strict=False)) | named
        self.is_asked = bool(bound.get("output_attentions") or config.output_attentions)
        gives_dict = bound.get("return_dict")
        default = getattr(config, "return_dict", True)
        self.gives_tuple = not (default if gives_dict is None else gives_dict)
        named = {**named, "output_attentions": True, "return_dict": True}
        given = [named.pop(each, own) for each, own in zip(names, arguments, strict=False)]
        return (*given, *arguments[len(given) :]), named

    def take(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """Return the output that the model would have given."""
        output = output if self.is_asked else _without_weights(output)
        return output.to_tuple() if self.gives_tuple else output


def _without_weights(output: Any) -> Any:
    """Return the output of a model, and those of others in it, without weights."""
    given = {
        name: _without_weights(value)
        if isinstance(value, dict) and "to_tuple" in dir(value)
        else value
        for name, value in output.items()
        if not (name.endswith("attentions") and isinstance(value, tuple))
    }
    return type(output)(**given)


@dataclass
class _Looking:
    """Looks for the results of softmax in what modules return."""

    watcher: Watcher

    def enter(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Keep what is computed in a module."""
        if self.watcher.is_followed():
            self.watcher.own.append(OwnAttention([], []))

    def leave(
        self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        """Notify of the weights."""
        if not self.watcher.is_followed():
            return
        own = self.watcher.own.pop()
        name = self.watcher.names.get(module)
        found = [
            each for each in _tensors(output) if any(_is_of(each, one) for one in own.softmaxes)
        ]
        source = f"what {type(module).__name__} returns"
        if not found:
            found, source = own.averaging, f"a softmax of {type(module).__name__}"
        if name is None or len(found) != 1 or not _are_heads(found[0], module, output):
            return
        weights = found[0]
        entry = Running(self.watcher, name, module, arguments, named)
        padding, grid = padding_and_grid(entry, None, weights, weights.mT)
        self.watcher.notify(name, WeightsPass(weights, None, None, padding, grid, source))


def _tensors(output: Any) -> list[Tensor]:
    """Return the tensors in an output, and in what stands in it."""
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output
    if not isinstance(output, dict | tuple | list):
        return []
    return [tensor for value in values for tensor in _tensors(value)]


@torch.no_grad()
def _is_of(weights: Tensor, softmax: Tensor) -> bool:
    """Whether weights are the result of a softmax, of which some may be dropped."""
    if weights.shape[-2:] != softmax.shape[-2:] or weights.numel() != softmax.numel():
        return False
    softmax = softmax.reshape(weights.shape)
    ratio = (weights / softmax)[(weights != 0) & (softmax != 0)]
    if not ratio.numel():
        return False
    scale = ratio.median()
    return torch.allclose(weights, (softmax * scale).where(weights != 0, 0), rtol=1e-2, atol=1e-6)


def _are_heads(weights: Tensor, module: nn.Module, output: Any) -> bool:
    """Whether the axes of weights are samples, heads, queries and keys."""
    if weights.dim() != 4:
        return False
    if weights.shape[2] != weights.shape[3] and any("window" in name for name in vars(module)):
        return False  # the columns may be those of a band
    holders = module, getattr(module, "config", None)
    counts = [getattr(holder, name, None) for holder in holders for name in HEADS]
    tokens = _tensors(output)[0].shape
    queries = [*tokens, tokens[1:-1].numel()]  # of an image
    return weights.shape[1] in counts and weights.shape[2] in queries
