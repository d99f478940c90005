"""Vectors of a given length: what the cosine score compares."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def of_length(vectors: Tensor, length: Tensor) -> Tensor:
    """Return vectors [B, H, K, E] stretched to a length for each head [H, 1, 1].

    A vector of zeros stays one. Lengths are computed in float32 or wider: in half precision squares
    overflow. The backward pass goes over the vectors three times, where that of a norm and a
    division goes over them about ten times; second derivatives are not available.
    """
    stretched: Tensor = _OfLength.apply(vectors, length)
    return stretched


class _OfLength(torch.autograd.Function):
    """y = l x / |x|, so dx = (dy - y (y.dy) / l^2) l / |x| and dl = sum y.dy / l."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, length: Tensor) -> Tensor:
        wide = torch.promote_types(vectors.dtype, torch.float32)
        norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=wide)
        # The gradient at a zero vector is l / floor, which must be finite in the vector's dtype.
        factor = length / norm.clamp_min_(1e-3 if vectors.dtype == torch.float16 else 1e-12)
        stretched: Tensor = (vectors * factor).to(vectors.dtype)
        ctx.save_for_backward(stretched, factor, length)
        return stretched

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        stretched, factor, length = ctx.saved_tensors
        along = torch.linalg.vecdot(stretched.to(factor.dtype), gradient.to(factor.dtype))
        along = along.unsqueeze(-1)
        by_length = None
        if ctx.needs_input_grad[1]:
            by_length = along.sum((0, 2), keepdim=True).squeeze(0) / length
        across = torch.addcmul(gradient, stretched, -along / length.square())
        return across.mul_(factor).to(gradient.dtype), by_length
