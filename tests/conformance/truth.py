"""The weights that a model attends with, taken where they are computed, without `record`.

The `eager` functions of `transformers` return them; of `scaled_dot_product_attention` they are
computed step by step; elsewhere they are the result of a softmax.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.modeling_utils import AttentionInterface

MULTI_HEAD_NEEDED = 13
"""Arguments of `multi_head_attention_forward` before `training`; the others have names."""


@dataclass
class Truth:
    """Weights by the name of the module, in the order of the calls.

    Attributes:
        attended: Of attention functions.
        softmaxes: Of each softmax that no attention function called.
        kinds: Names of the classes of modules.
    """

    attended: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    softmaxes: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    kinds: dict[str, str] = field(default_factory=dict)


@contextmanager
def truth_of(model: nn.Module) -> Iterator[Truth]:
    """Keep the weights that a model attends with meanwhile."""
    truth, names = Truth(), {id(module): name for name, module in model.named_modules()}
    truth.kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    looking = _Looking(truth, names)
    fast = torch.backends.mha.get_fastpath_enabled()
    original = AttentionInterface.get_interface

    def get_interface(self: Any, implementation: str, default: Callable[..., Any]) -> Any:
        return partial(looking.call_interface, original(self, implementation, default))

    with ExitStack() as stack:
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        for module in model.modules():
            before = module.register_forward_pre_hook(looking.enter)
            stack.callback(before.remove)
            after = module.register_forward_hook(looking.leave, always_call=True)
            stack.callback(after.remove)
        stack.enter_context(mock.patch.object(AttentionInterface, "get_interface", get_interface))
        stack.enter_context(looking)
        yield truth


class _Looking(TorchFunctionMode):
    """Looks at the functions of torch that are called."""

    def __init__(self, truth: Truth, names: dict[int, str]) -> None:
        super().__init__()
        self._truth, self._names = truth, names
        self._running: list[nn.Module] = []
        self._inside = 0

    def enter(self, module: nn.Module, arguments: Any) -> None:
        self._running.append(module)

    def leave(self, module: nn.Module, arguments: Any, output: Any) -> None:
        while self._running and self._running.pop() is not module:
            pass

    def call_interface(
        self, function: Callable[..., Any], module: nn.Module, *a: Any, **n: Any
    ) -> Any:
        """Call an attention function of `transformers`; one that gives no weights calls torch."""
        self._inside += 1
        try:
            result = function(module, *a, **n)
        finally:
            self._inside -= 1
        if isinstance(result[1], Tensor):
            self._keep(self._truth.attended, result[1], module)
        return result

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        named = named or {}
        if function is F.multi_head_attention_forward:
            given = {**named, "need_weights": True, "average_attn_weights": False}
            weights = function(*arguments[:MULTI_HEAD_NEEDED], **given)[1]
            self._keep(self._truth.attended, weights, None)
        result = function(*arguments, **named)
        if function is F.scaled_dot_product_attention:
            weights = _explicit(*arguments, **named)
            self._keep(self._truth.attended, weights, None)
        elif (
            getattr(function, "__name__", "") == "softmax" and not self._inside and result.dim() > 2
        ):
            self._keep(self._truth.softmaxes, result, None)
        return result

    def _keep(
        self, kept: dict[str, list[Tensor]], weights: Tensor, module: nn.Module | None
    ) -> None:
        module = module if id(module) in self._names else (self._running or [None])[-1]
        kept[self._names.get(id(module), "?")].append(weights.detach().clone())


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights of `scaled_dot_product_attention`, as its documentation writes them."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.mT * scale
    if is_causal:
        shown = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = scores.masked_fill(~shown, -torch.inf)
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
    return scores.softmax(-1).nan_to_num(0)
