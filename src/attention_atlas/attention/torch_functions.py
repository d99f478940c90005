"""Watch the attention functions of torch, whichever module calls them.

While a model is watched, the names of the functions lead to ones that call the originals and look
at what these were given and gave back. Elsewhere they do nothing but call them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_atlas.attention.exchange import exchanged
from attention_atlas.attention.kernels import not_compiled
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.observers import (
    Pass,
    Running,
    WeightsPass,
    innermost,
    notify,
    running,
)
from attention_atlas.attention.scores import ScaledDot
from attention_atlas.attention.sequences import padding_and_grid

REPORTS_ITSELF = "reports_passes"
"""A class attribute of modules that notify observers of their passes themselves."""


class _Inside(threading.local):
    """Callers of the attention functions in this thread."""

    multi_head: tuple[int, int] | None = None  # batch and heads of `multi_head_attention_forward`
    interface: Any = None


inside = _Inside()


@contextmanager
def watched_functions(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Watch the functions of torch, also where the classes of modules have imported their names."""
    owners = {F.__name__, torch.backends.mha.__name__} | {each.__module__ for each in modules}
    known = [sys.modules[owner] for owner in owners if owner in sys.modules]
    names = [(each, name) for each in known for name in _names(each)]
    with exchanged(names, _WATCHING.__getitem__):
        yield


@contextmanager
def watched_products() -> Iterator[None]:
    """Watch softmax and the products with its result, in modules with an attention of their own."""
    names = [(torch, name) for name in ("softmax", "matmul", "einsum")]
    methods = [(Tensor, name) for name in ("softmax", "matmul", "__matmul__")]
    with exchanged([*names, *methods], _WATCHING.__getitem__):
        yield


def is_attention(function: object) -> bool:
    """Whether a function is one that is watched."""
    return callable(function) and getattr(function, "__wrapped__", function) in ATTENTION_FUNCTIONS


def _names(owner: ModuleType) -> list[str]:
    """Return the names by which a module knows a function that is watched."""
    known = {id(each) for pair in _WATCHING.items() for each in pair}
    return [name for name, value in vars(owner).items() if id(value) in known]


def _watching(function: Callable[..., Any], watch: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `watch` with the original where a watched model is running."""

    @wraps(function)
    @not_compiled
    def call(*arguments: Any, **named: Any) -> Any:
        entry = innermost()
        if entry is None or getattr(entry.module, REPORTS_ITSELF, False):
            return function(*arguments, **named)
        return watch(entry, function, *arguments, **named)

    return call


def _watch_product(
    entry: Running, function: Callable[..., Tensor], *arguments: Any, **named: Any
) -> Tensor:
    """Call `scaled_dot_product_attention`, and notify of what it computed."""
    return _notify_product(entry, function(*arguments, **named), *arguments, **named)


def _notify_product(
    entry: Running,
    output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Notify of a product; return its output, through which gradients pass."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    seen = Product(query, key, value, attn_mask, output)
    if inside.interface is not None:
        inside.interface.adapt(seen)
    heads = seen.output
    with torch.no_grad():
        query, key, mask = _as_computed(seen.query), _as_computed(seen.key), seen.mask
    padding, grid = padding_and_grid(entry, mask, query, key)
    product = Pass(
        ScaledDot(scale),
        query,
        key,
        seen.value,
        Mask(mask, is_causal),
        heads,
        dropout_p,
        padding,
        grid,
    )
    notify(None if inside.interface is None else inside.interface.module, product)
    return heads.reshape(output.shape)


class Product:
    """The arguments and the output of a product, with four axes: [B, H, tokens, width].

    The output is a view, which the caller gets, so that gradients pass it.
    """

    def __init__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, output: Tensor
    ) -> None:
        lead = output.shape[:-2]
        if output.dim() < 4:  # no heads
            query, key, value, output = (
                tensor[(None,) * (3 - tensor.dim())].unsqueeze(1)
                for tensor in (query, key, value, output)
            )
            if mask is not None and mask.dim() == 3:
                mask = mask.unsqueeze(1)
        elif output.dim() > 4:
            query, key, value = (
                tensor.expand(*lead[:-1], *tensor.shape[-3:]).flatten(0, -4)
                for tensor in (query, key, value)
            )
            output = output.flatten(0, -4)
            if mask is not None and mask.dim() > 3:
                mask = mask.expand(*lead[:-1], *mask.shape[-3:]).flatten(0, -4)
        if mask is not None:
            mask = mask[(None,) * (4 - mask.dim())]
            mask = mask.expand(*mask.shape[:-1], key.shape[-2])
        batch = output.shape[0]
        self.query = query.expand(batch, -1, -1, -1)
        self.key = key.expand(batch, -1, -1, -1)
        self.value = value.expand(batch, -1, -1, -1)
        self.mask = mask
        self.output = output


def _as_computed(tensor: Tensor) -> Tensor:
    """Return a tensor in the dtype to which autocast casts it."""
    kind = tensor.device.type
    if tensor.dtype == torch.float32 and torch.is_autocast_enabled(kind):
        return tensor.to(torch.get_autocast_dtype(kind))
    return tensor


def _watch_multi_head(
    entry: Running,
    function: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    *arguments: Any,
    **named: Any,
) -> Any:
    """Call `multi_head_attention_forward`, in which a softmax may give the weights."""
    before = inside.multi_head
    inside.multi_head = query.shape[1] if query.dim() == 3 else 1, num_heads
    try:
        return function(query, key, value, embed_dim_to_check, num_heads, *arguments, **named)
    finally:
        inside.multi_head = before


def _watch_softmax(
    entry: Running, function: Callable[..., Tensor], *arguments: Any, **named: Any
) -> Tensor:
    """Call `softmax`, and notify of its result inside `multi_head_attention_forward`."""
    weights = function(*arguments, **named)
    if inside.multi_head is None:
        return weights
    heads = weights.reshape(*inside.multi_head, *weights.shape[-2:])
    padding, grid = padding_and_grid(entry, None, heads, heads.mT)
    notify(None, WeightsPass(heads, None, None, padding, grid, "multi_head_attention_forward"))
    return heads.reshape(weights.shape)


def _refuse_fast_path(entry: Running, function: Callable[..., bool]) -> bool:
    """Keep `nn.TransformerEncoder` from a kernel of its own, in which no attention is seen."""
    return False


def _watch_own_softmax(
    entry: Running, function: Callable[..., Tensor], *arguments: Any, **named: Any
) -> Tensor:
    """Call `softmax`, and keep its result for the module with an attention of its own."""
    weights = function(*arguments, **named)
    axis = named.get("dim", arguments[1] if len(arguments) > 1 else None)
    if axis in (-1, weights.dim() - 1):
        for each in running():
            if each.watcher.own:
                each.watcher.own[-1].softmaxes.append(weights)
    return weights


def _watch_average(
    entry: Running, function: Callable[..., Tensor], *arguments: Any, **named: Any
) -> Tensor:
    """Call a product, and keep its first factor if it is the result of a softmax."""
    first, sums = arguments[0] if arguments else None, True
    if isinstance(first, str):  # of `einsum`
        inputs, _, output = first.replace(" ", "").partition("->")
        first, sums = arguments[1], inputs.partition(",")[0][-1:] not in output
        first = first[0] if isinstance(first, list | tuple) else first
    for each in running():
        own = each.watcher.own[-1] if each.watcher.own else None
        if own is not None and sums:
            own.averaging.extend(weights for weights in own.softmaxes if weights is first)
    return function(*arguments, **named)


ATTENTION_FUNCTIONS = (F.scaled_dot_product_attention, F.multi_head_attention_forward)
_WATCHING: dict[Callable[..., Any], Callable[..., Any]] = {
    F.scaled_dot_product_attention: _watching(F.scaled_dot_product_attention, _watch_product),
    F.multi_head_attention_forward: _watching(F.multi_head_attention_forward, _watch_multi_head),
    F.softmax: _watching(F.softmax, _watch_softmax),
    torch.backends.mha.get_fastpath_enabled: _watching(
        torch.backends.mha.get_fastpath_enabled, _refuse_fast_path
    ),
    torch.softmax: _watching(torch.softmax, _watch_own_softmax),
    Tensor.softmax: _watching(Tensor.softmax, _watch_own_softmax),
    torch.matmul: _watching(torch.matmul, _watch_average),
    torch.einsum: _watching(torch.einsum, _watch_average),
    Tensor.matmul: _watching(Tensor.matmul, _watch_average),
    Tensor.__matmul__: _watching(Tensor.__matmul__, _watch_average),
}
