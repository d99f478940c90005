"""Additive attention whose loops over queries, keys and width are compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attention_atlas.attention.additive import AdditiveLogits, Gradients, attend_in_blocks
from attention_atlas.attention.kernels import not_compiled
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.shapes import Keys, Outputs, Queries, Values

# On a CPU a block [b, H, q, K] should stay in the cache: 2**19 numbers are 2 MiB in float32.
NUMBERS_PER_CPU_BLOCK = 2**19
NUMBERS_PER_BLOCK = 2**24
# A loop over fewer queries than this would be mostly overhead.
MIN_QUERIES_PER_BLOCK = 64


@not_compiled
def compiled_additive_attention(
    query: Queries,
    key: Keys,
    value: Values,
    vector: Float[Tensor, "heads width"],
    mask: Mask,
    dropout_p: float = 0.0,
) -> Outputs:
    """Return the same as `additive_attention` in a fraction of the time, by `torch.compile`.

    Masks, dropout and gradients as there. The working memory is a few tensors [b, H, q, K]
    for a block of q queries of b samples; there is no tensor with the width as well. The first call
    compiles for some seconds; what it compiled takes every batch size, length and width.

    Raises RuntimeError if there is no C++ compiler.
    """
    arguments = CompiledLogits, query, key, value, vector, mask, dropout_p
    if not torch.is_inference_mode_enabled():
        return attend_in_blocks(*arguments)
    # Tensors made in inference mode would have everything compiled a second time.
    with torch.inference_mode(False), torch.no_grad():
        return attend_in_blocks(*arguments)


class CompiledLogits(AdditiveLogits):
    """`AdditiveLogits` by compiled loops, which compute r three times rather than store it.

    If the exponentials overflow float32, a CPU takes float64, whose range is larger and which is
    still faster than an exp for every r. Exponentials that overflow that too, and sizes of 1, for
    which torch.compile would compile again, are left to the loops that are not compiled.
    """

    @torch.no_grad()
    def __init__(self, query: Queries, key: Keys, vector: Float[Tensor, "heads width"]) -> None:
        super().__init__(query, key, vector)
        self.dtype = self.query.dtype
        if not self.on_cpu:
            self.factored = self._factor()
        elif not self.factored:
            super().__init__(query.double(), key.double(), vector.double())
            if not self.factored:
                super().__init__(query, key, vector)

    @torch.no_grad()
    def __call__(
        self, samples: slice, rows: slice, keys: slice
    ) -> Float[Tensor, "samples heads rows columns"]:
        """Return the logits of these samples, queries and keys."""
        query, key = self._parts(samples, rows, keys)
        if not self._can_loop(query, key):
            return super().__call__(samples, rows, keys).to(self.dtype)
        vector = self.vector.repeat(len(query) // self.heads, 1)
        logits = self._loop(_logits)(query.mT.contiguous(), key.contiguous(), vector)
        return _unflatten(logits, self.heads).to(self.dtype)

    def gradients(
        self,
        samples: slice,
        rows: slice,
        keys: slice,
        upstream: Float[Tensor, "samples heads rows columns"],
    ) -> Gradients:
        """Return the gradients of a block by the gradient of its logits."""
        query, key = self._parts(samples, rows, keys)
        upstream = upstream.to(query.dtype)
        if not self._can_loop(query, key):
            return super().gradients(samples, rows, keys, upstream)
        loop, upstream = self._loop(_gradients), upstream.flatten(0, 1)
        by_query, along = loop(query.mT.contiguous(), key.contiguous(), upstream.contiguous())
        # The sum over queries is the same loop with the roles of queries and keys swapped.
        by_key, _ = loop(key.mT.contiguous(), query.contiguous(), upstream.mT.contiguous())
        return Gradients(
            _unflatten(by_query, self.heads).mT,
            _unflatten(by_key, self.heads).mT,
            _unflatten(along, self.heads).sum((0, 2)),
        )

    def steps(self) -> tuple[int, int]:
        """Return the number of samples and of queries in a block."""
        if not self.factored:
            return super().steps()
        numbers = NUMBERS_PER_CPU_BLOCK if self.on_cpu else NUMBERS_PER_BLOCK
        row = max(1, self.heads * self.num_keys)
        queries = min(self.num_queries, max(MIN_QUERIES_PER_BLOCK, numbers // row))
        return max(1, min(self.batch, numbers // (row * max(1, queries)))), max(1, queries)

    def _parts(self, samples: slice, rows: slice, keys: slice) -> tuple[Tensor, Tensor]:
        """Return queries [N, E, q] and keys [N, E, k] with N = b * H."""
        query, key = self.query[samples, ..., rows], self.key[samples, ..., keys]
        return query.flatten(0, 1), key.flatten(0, 1)

    def _can_loop(self, query: Tensor, key: Tensor) -> bool:
        return self.factored and min(*query.shape, *key.shape) > 1

    def _loop(self, loop: Loop) -> Loop:
        # torch.compile writes the number of threads into its code.
        return _compiled(loop, self.query.dtype, self.query.device, torch.get_num_threads())


Loop = Callable[..., Any]


def _logits(query: Tensor, key: Tensor, vector: Tensor) -> Tensor:
    """Return v'tanh(q + k), [N, q, k], of exponentials [N, q, E] and [N, E, k] and v [N, E]."""
    complement = 1 / (1 + query[..., None] * key[:, None])
    return vector.sum(-1)[:, None, None] - 2 * (vector[:, None, :, None] * complement).sum(2)


def _gradients(query: Tensor, key: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over keys of g r (1 - r) and of g (1 - 2r), [N, q, E]; g is [N, q, k]."""
    complement = 1 / (1 + query[..., None] * key[:, None])
    product = upstream[:, :, None] * complement
    along = upstream.sum(-1)[..., None] - 2 * product.sum(-1)
    return (product - product * complement).sum(-1), along


@cache
def _compiled(loop: Loop, dtype: torch.dtype, device: torch.device, threads: int) -> Loop:
    """Compile a loop with inputs of sizes that all differ, so that no two are assumed equal.

    The innermost loop over keys is vectorised. RuntimeError if nothing can be compiled here.
    """
    # torch has no public name for it; test_additive.py fails where it is gone.
    from torch._dynamo.exc import BackendCompilerFailed

    heads, queries, width, keys = 6, 40, 24, 72
    third = (heads, width) if loop is _logits else (heads, queries, keys)
    sizes = [(heads, queries, width), (heads, width, keys), third]
    compiled: Loop = torch.compile(loop, dynamic=True)
    try:
        compiled(*(torch.ones(size, dtype=dtype, device=device) for size in sizes))
    except BackendCompilerFailed as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise RuntimeError(
            "attention.compile needs a C++ compiler that works (g++, clang++ or the one that CXX "
            f"names): {reason}. Install one, or leave attention.compile off."
        ) from error
    return compiled


def _unflatten(tensor: Tensor, heads: int) -> Tensor:
    """Return [N, ...] as [b, H, ...]."""
    return tensor.view(-1, heads, *tensor.shape[1:])
