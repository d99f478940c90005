"""Operations of the scores: the fused product kernel, vector norms, heads and dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from attention_atlas.attention.masks import Mask, causal_mask, fully_masked
from attention_atlas.attention.shapes import Keys, Outputs, Queries, Values

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def fused_attention(
    query: Queries, key: Keys, value: Values, scale: float, mask: Mask, dropout_p: float = 0.0
) -> Outputs:
    """Return softmax(scale * query @ key.T) @ value by one call of the fused kernel.

    With fewer heads in key and value, each is shared by a group of queries (Ainslie et al. 2023). A
    fully masked row gives zeros.
    """
    value_width = value.shape[-1]
    if query.shape[-1] != value_width:
        query, key, value = _same_width(query, key, value)
    if mask.null_key:
        key, value, mask = _with_null_key(query.shape[2], key, value, mask)
    tensor = mask.tensor
    # The CPU kernels give zeros for a fully masked row; those of other devices differ from one
    # another and between releases, so there such a row is opened first and zeroed afterwards.
    dead = None if tensor is None or tensor.device.type == "cpu" else fully_masked(tensor)
    if tensor is not None and dead is not None:
        tensor = tensor.masked_fill(dead, tensor.dtype == torch.bool)
    output = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=tensor,
        dropout_p=dropout_p,
        is_causal=mask.is_causal,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    output = output if dead is None else output.masked_fill(dead, 0)
    return output[..., :value_width]


def _same_width(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pad with zeros, which change no product: the kernels are fused for equal widths only."""
    width = max(query.shape[-1], value.shape[-1])
    query, key, value = (
        F.pad(heads, (0, width - heads.shape[-1])) for heads in (query, key, value)
    )
    return query, key, value


def _with_null_key(
    num_queries: int, key: Tensor, value: Tensor, mask: Mask
) -> tuple[Tensor, Tensor, Mask]:
    """Append a key and a value of zeros, open to every query."""
    tensor = mask.tensor
    if mask.is_causal:
        tensor = causal_mask(num_queries, key.shape[2], key.device)[None, None]
    if tensor is not None:
        tensor = F.pad(tensor, (0, 1), value=1.0 if tensor.dtype == torch.bool else 0.0)
    key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
    return key, value, Mask(tensor)


def l2_normalize(
    vectors: Float[Tensor, "batch heads keys width"],
    norm: Float[Tensor, "#heads 1 1"] | Float[Tensor, ""],
) -> Float[Tensor, "batch heads keys width"]:
    """Scale vectors to an L2 norm, one for each head or one for all.

    A vector of zeros stays one. Norms are computed in float32 or wider: in half precision squares
    overflow. The backward pass reads the vectors three times, where that of a norm and a division
    reads them about ten times; second derivatives are not available.
    """
    scaled: Tensor = _L2Normalize.apply(vectors, norm)
    return scaled


class _L2Normalize(torch.autograd.Function):
    """y = l x / |x|, so dx = (dy - y (y.dy) / l^2) l / |x| and dl = sum y.dy / l."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, norm: Tensor) -> Tensor:
        wide = torch.promote_types(vectors.dtype, torch.float32)
        length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=wide)
        # The gradient at a zero vector is l / floor, which must be finite in the vector's dtype.
        factor = norm / length.clamp_min_(1e-3 if vectors.dtype == torch.float16 else 1e-12)
        scaled: Tensor = (vectors * factor).to(vectors.dtype)
        ctx.save_for_backward(scaled, factor, norm)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        scaled, factor, norm = ctx.saved_tensors
        along = torch.linalg.vecdot(scaled.to(factor.dtype), gradient.to(factor.dtype))
        along = along.unsqueeze(-1)
        norm_gradient = None
        if ctx.needs_input_grad[1]:
            norm_gradient = along.sum((0, 2), keepdim=True).squeeze(0) / norm
        across = torch.addcmul(gradient, scaled, -along / norm.square())
        return across.mul_(factor).to(gradient.dtype), norm_gradient


def repeat_heads(tensor: Keys, heads: int) -> Float[Tensor, "batch {heads} keys width"]:
    """Repeat the heads of a key or value for the group of queries of each."""
    if tensor.shape[1] == heads:
        return tensor
    return tensor.repeat_interleave(heads // tensor.shape[1], dim=1)


def widen(tensor: Shaped[Tensor, "*size"]) -> Shaped[Tensor, "*size"]:
    """Return a float tensor in float32, or float64 if it is that; leave others alone."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class Workspace:
    """A tensor that grows to the largest result; each result overwrites the last.

    It saves allocations, which cost more than filling the tensor.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def tensor(self, like: Shaped[Tensor, "*like"], *size: int) -> Shaped[Tensor, "*result"]:
        """Return an uninitialised tensor of a size, by default that of `like`."""
        shape = size or tuple(like.shape)
        numbers = math.prod(shape)
        if self._memory is None or self._memory.numel() < numbers:
            self._memory = like.new_empty(numbers)
        return self._memory[:numbers].view(shape)


def not_compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Leave a function out of what `torch.compile` compiles, as `torch.compiler.disable` does.

    `torch.compiler.disable` imports `torch._dynamo`, half as much again as torch itself; here only
    a model that is compiled does.
    """

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        disabled = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
        result: Result = disabled(*args, **kwargs)
        return result

    return call
