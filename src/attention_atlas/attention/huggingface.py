"""Watch the attention functions of `transformers`, which models choose by name.

`transformers` hands a function out by its `AttentionInterface`. While a model is watched, it hands
out one that calls the original. What `sdpa` computes is seen where it calls torch; a function that
returns weights, as `eager` does, has computed the map; rows of the others are computed from what
they were given, if all of their options are known. `transformers` is looked at only where it is
imported already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from attention_atlas.attention.exchange import exchanged
from attention_atlas.attention.masks import Mask, causal_mask
from attention_atlas.attention.observers import Pass, Running, WeightsPass, innermost, notify
from attention_atlas.attention.scores import ScaledDot
from attention_atlas.attention.sequences import padding_and_grid
from attention_atlas.attention.torch_functions import Product, inside

Function = Callable[..., tuple[Any, ...]]

# Options of `flex_attention` and `flash_attention` that change no row of a map.
HARMLESS = {
    "dropout": "drops weights after the softmax",
    "output_attentions": "asks for weights, which these functions do not return",
    "output_hidden_states": "asks for what stands between layers",
    "output_router_logits": "asks for what chooses experts",
    "use_cache": "keeps keys, which are passed on as they are",
    "cache_position": "places keys in a cache, which has been done",
    "num_items_in_batch": "divides a loss",
    "return_dict": "shapes the output of a model",
    "kernel_options": "sizes blocks of a kernel",
    "layer_idx": "names a layer",
}


@contextmanager
def watched_interface() -> Iterator[None]:
    """Watch the functions that `transformers` hands out."""
    library = sys.modules.get("transformers.modeling_utils")
    if library is None:
        yield
        return
    interface = library.AttentionInterface
    with exchanged([(interface, "get_interface"), (interface, "__getitem__")], _watching):
        yield


def _watching(method: Callable[..., Function]) -> Callable[..., Function]:
    """Return a method that hands out watched functions where a watched model is running."""

    @wraps(method)
    def hand_out(*arguments: Any, **named: Any) -> Function:
        function = method(*arguments, **named)
        if innermost() is None or isinstance(function, _Watched):
            return function
        return _Watched(function)

    return hand_out


class _Watched:
    """An attention function that notifies of what it computes."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any = None,
        *arguments: Any,
        **options: Any,
    ) -> tuple[Any, ...]:
        """Call the function.

        Raises:
            ValueError: A paged cache gives it other keys than it is given here.
        """
        if options.get("cache") is not None:
            raise ValueError(
                f"{type(module).__name__} attends by {self.__name__} with a paged cache, which "
                "holds the keys of several requests, so that its maps cannot be recorded."
            )
        call = InterfaceCall(self.__name__, module, query, key, value)
        before, inside.interface = inside.interface, call
        try:
            result = self.function(module, query, key, value, attention_mask, *arguments, **options)
        finally:
            inside.interface = before
        entry = innermost()
        if call.is_seen or entry is None:
            return result
        return call.notify(entry, attention_mask, options, result)


class InterfaceCall:
    """A call of an attention function of `transformers`.

    Attributes:
        module: The module that attends.
        is_seen: Whether a function of torch that it called was watched.
    """

    def __init__(
        self, name: str, module: nn.Module, query: Tensor, key: Tensor, value: Tensor
    ) -> None:
        self.module = module
        self.is_seen = False
        self._name = name
        self._query, self._key, self._value = query, key, value

    def adapt(self, product: Product) -> None:
        """Undo what `sdpa` does to share keys among heads: it repeats them, or packs one query."""
        self.is_seen = True
        if self._name != "sdpa_attention_forward":
            return
        heads, key_heads = self._query.shape[1], self._key.shape[1]
        if product.query.shape[1] != heads:
            size = len(product.output), heads, 1
            product.query = product.query.reshape(*size, -1)
            product.output = product.output.reshape(*size, -1)
            if product.mask is not None and product.mask.shape[1] > 1:
                product.mask = product.mask.reshape(len(product.mask), heads, 1, -1)
        elif product.key.shape[1] != key_heads:
            num_keys = product.key.shape[2]
            product.key, product.value = self._key[:, :, :num_keys], self._value[:, :, :num_keys]

    def notify(
        self, entry: Running, attention_mask: Any, options: dict[str, Any], result: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Notify of what the function computed; return its result, through which gradients pass."""
        output, weights = result[:2]
        query, key = self._query.expand(len(self._key), -1, -1, -1), self._key
        heads = output.transpose(1, 2)
        if isinstance(weights, Tensor) and weights.dim() == 4:
            padding, grid = padding_and_grid(entry, attention_mask, query, weights.mT)
            source = f"{self._name} of {type(self.module).__name__}"
            self._verify(weights, heads)
            notify(self.module, WeightsPass(weights, self._value, heads, padding, grid, source))
        else:
            scale = options.pop("scaling", None)
            scale = query.shape[-1] ** -0.5 if scale is None else scale
            mask = self._mask(attention_mask, options)
            padding, grid = padding_and_grid(entry, mask.tensor, query, key)
            dropout = options.get("dropout", 0.0)
            score = ScaledDot(scale)
            notify(
                self.module,
                Pass(score, query, key, self._value, mask, heads, dropout, padding, grid),
            )
        return (heads.transpose(1, 2), *result[1:])

    @torch.no_grad()
    def _verify(self, weights: Tensor, heads: Tensor) -> None:
        """Check, at the last query, that what was returned as weights averages the values.

        Raises:
            ValueError: It does not: a sink may have scaled the average, for example.
        """
        value = self._value.repeat_interleave(weights.shape[1] // self._value.shape[1], 1)
        if weights.shape[3] != value.shape[2] or heads.shape[:3] != weights.shape[:3]:
            return
        expected = weights[:, :, -1:].to(value.dtype) @ value
        scale = expected.abs().amax().float().item()
        tolerance = scale * (1e-3 if value.dtype in (torch.float32, torch.float64) else 3e-2)
        if not torch.allclose(heads[:, :, -1:], expected, rtol=0, atol=tolerance, equal_nan=True):
            raise ValueError(
                f"{type(self.module).__name__} attends by {self._name}, whose output is not the "
                "average of the values by the weights that it returns, so that they are no maps."
            )

    def _mask(self, attention_mask: Any, options: dict[str, Any]) -> Mask:
        """Return the mask of a function that returns no weights.

        Raises:
            ValueError: The function, or one of its options, is not known.
        """
        known = {"flex_attention_forward": _flex_mask, "flash_attention_forward": _flash_mask}
        if self._name not in known:
            raise ValueError(
                f"{type(self.module).__name__} attends by {self._name}, which is not known and "
                "returns no weights, so that its maps cannot be recorded: take "
                "attn_implementation='sdpa' or 'eager'."
            )
        left = {name: value for name, value in options.items() if name not in HARMLESS}
        mask = known[self._name](self.module, self._query, self._key, attention_mask, left)
        for name, value in left.items():
            if value is not None:
                raise ValueError(
                    f"{type(self.module).__name__} attends by {self._name} with {name}, which "
                    "cannot be recorded: take attn_implementation='eager'."
                )
        return mask


def _flex_mask(
    module: nn.Module, query: Tensor, key: Tensor, attention_mask: Any, options: dict[str, Any]
) -> Mask:
    """Return the mask of `flex_attention`, of a block mask or a float one and of a bias."""
    options.pop("is_causal", None)  # a block mask has it
    options.pop("position_ids", None)  # by which queries and keys have been rotated
    bias = options.pop("position_bias", None)
    if attention_mask is None:
        return Mask(bias)
    if isinstance(attention_mask, Tensor):
        tensor = attention_mask[..., : key.shape[2]]
    else:
        from torch.nn.attention.flex_attention import create_mask

        size = len(key), query.shape[1], query.shape[2], key.shape[2]
        tensor = create_mask(attention_mask.mask_mod, *size, device=query.device)
    if bias is None:
        return Mask(tensor)
    if tensor.dtype == torch.bool:
        return Mask(bias.masked_fill(~tensor, -torch.inf))
    return Mask(tensor + bias)


def _flash_mask(
    module: nn.Module, query: Tensor, key: Tensor, attention_mask: Any, options: dict[str, Any]
) -> Mask:
    """Return the mask of `flash_attention`: padding [B, K], a causal one and a window.

    Its queries are the last of the keys.
    """
    positions = options.get("position_ids")
    if positions is None or bool((positions.diff() == 1).all()):  # else sequences are packed
        options.pop("position_ids", None)
    causal, window = options.pop("is_causal", None), options.pop("sliding_window", None)
    causal = getattr(module, "is_causal", True) if causal is None else causal
    num_queries, num_keys = query.shape[2], key.shape[2]
    shown = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device)
    if causal:
        shown = causal_mask(num_keys, num_keys, query.device)[num_keys - num_queries :]
    if window is not None:
        tokens = torch.arange(num_keys, device=query.device)
        steps = tokens[num_keys - num_queries :, None] - tokens
        shown = shown & (steps < window) & (steps > -window)
    if attention_mask is None:
        return Mask(shown[None, None])
    return Mask(shown & attention_mask[:, None, None, -num_keys:].bool())
