"""The scores: how a query and a key are compared before the softmax.

A score is a small module. Every parameter of a score has the heads as its first axis, so that
the rows of some heads can be computed from slices of the parameters.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_atlas.attention.additive import AdditiveLogits, additive_attention
from attention_atlas.attention.compiled_additive import (
    CompiledLogits,
    compiled_additive_attention,
)
from attention_atlas.attention.kernels import Workspace, fused_attention, l2_normalize
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.shapes import Keys, Map, Outputs, Queries, Values

Logits = Callable[[slice, slice, slice], Tensor]
"""Slices of the samples, queries and keys -> the logits [b, H, q, k] of that block."""


class Score(nn.Module, ABC):
    """The function of one query and one key before the softmax."""

    @abstractmethod
    def logits(self, query: Queries, key: Keys) -> Map:
        """Return the formula as in the paper."""

    @abstractmethod
    def attend(
        self, query: Queries, key: Keys, value: Values, mask: Mask, dropout_p: float = 0.0
    ) -> Outputs:
        """Return softmax(logits) @ value without storing the weights.

        Key and value may have fewer heads than the query, if their number divides its heads.
        """

    def blocks(self, query: Queries, key: Keys) -> Logits:
        """Return a function that computes any block of `logits(query, key)`, without gradients.

        A score may prepare queries and keys once for all blocks. The caller may write to a block;
        the next one may overwrite it.
        """

        def block(samples: slice, rows: slice, keys: slice) -> Tensor:
            return self.logits(query[samples, :, rows], key[samples, :, keys])

        return block


class ProductScore(Score):
    """A score that is a scaled dot product once query and key are transformed."""

    @abstractmethod
    def transform(self, query: Queries, key: Keys) -> tuple[Queries, Keys, float]:
        """Return query, key and scale such that logits = scale * query @ key.T."""

    def attend(
        self, query: Queries, key: Keys, value: Values, mask: Mask, dropout_p: float = 0.0
    ) -> Outputs:
        """Attend through one call of the fused kernel; see `Score.attend`."""
        query, key, scale = self.transform(query, key)
        return fused_attention(query, key, value, scale, mask, dropout_p)

    def blocks(self, query: Queries, key: Keys) -> Logits:
        """Transform once; a block is one product. See `Score.blocks`."""
        query, key, scale = self.transform(query, key)
        query, workspace = query * scale, Workspace()

        def block(samples: slice, rows: slice, keys: slice) -> Tensor:
            some, others = query[samples, :, rows], key[samples, :, keys]
            logits = workspace.tensor(query, *some.shape[:3], others.shape[2])
            return torch.matmul(some, others.mT, out=logits)

        return block


class Dot(ProductScore):
    """q.k (Luong et al. 2015, "dot")."""

    def logits(self, query: Queries, key: Keys) -> Map:
        """Return q.k."""
        return query @ key.transpose(-2, -1)

    def transform(self, query: Queries, key: Keys) -> tuple[Queries, Keys, float]:
        """Return query and key as they are, and 1."""
        return query, key, 1.0


class ScaledDot(ProductScore):
    """scale * q.k, by default with scale = 1 / sqrt(E) (Vaswani et al. 2017)."""

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale

    def logits(self, query: Queries, key: Keys) -> Map:
        """Return scale * q.k."""
        return query @ key.transpose(-2, -1) * self._scale(query)

    def transform(self, query: Queries, key: Keys) -> tuple[Queries, Keys, float]:
        """Return query and key as they are, and the scale."""
        return query, key, self._scale(query)

    def _scale(self, query: Tensor) -> float:
        return 1 / math.sqrt(query.shape[-1]) if self.scale is None else self.scale


class Cosine(ProductScore):
    """tau * cos(q, k), with tau learned per head (Henry et al. 2020; Liu et al. 2022, Swin v2).

    `log_tau` [H] is its logarithm, so that tau stays positive. It starts at tau = 10, as in
    Swin v2.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.log_tau = nn.Parameter(torch.full((num_heads,), math.log(10.0)))

    def logits(self, query: Queries, key: Keys) -> Map:
        """Return tau * q.k / (|q| |k|)."""
        cosine = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)
        return self.log_tau.exp()[:, None, None] * cosine

    def transform(self, query: Queries, key: Keys) -> tuple[Queries, Keys, float]:
        """Return tau * q / |q|, k / |k| and 1."""
        tau = self.log_tau.exp()[:, None, None]
        one = tau.new_ones(())
        return l2_normalize(query, tau), l2_normalize(key, one), 1.0


class Multiplicative(ProductScore):
    """q'Wk, with W learned per head (Luong et al. 2015, "general").

    `matrix` [H, E, E] starts at the identity / sqrt(E): as the scaled dot product.
    """

    def __init__(self, num_heads: int, head_width: int) -> None:
        super().__init__()
        start = torch.eye(head_width) / math.sqrt(head_width)
        self.matrix = nn.Parameter(start.repeat(num_heads, 1, 1))

    def logits(self, query: Queries, key: Keys) -> Map:
        """Return q'Wk."""
        return query @ self.matrix @ key.transpose(-2, -1)

    def transform(self, query: Queries, key: Keys) -> tuple[Queries, Keys, float]:
        """Return q'W, k and 1."""
        return query @ self.matrix, key, 1.0


class Additive(Score):
    """v'tanh(q + k), with v learned per head (Bahdanau, Cho and Bengio 2014).

    The paper's W and U are the projections of query and key. `vector` [H, E] is v. With `compile`
    the kernel is compiled by `torch.compile`, which needs a C++ compiler.
    """

    def __init__(self, num_heads: int, head_width: int, compile: bool = False) -> None:
        super().__init__()
        self.compile_kernel = compile
        self.vector = nn.Parameter(torch.empty(num_heads, head_width))
        nn.init.uniform_(self.vector, -1 / math.sqrt(head_width), 1 / math.sqrt(head_width))

    def logits(self, query: Queries, key: Keys) -> Map:
        """Return v'tanh(q + k) by way of a [B, H, Q, K, E] tensor."""
        hidden = torch.tanh(query[..., :, None, :] + key[..., None, :, :])
        return (hidden * self.vector[:, None, None, :]).sum(-1)

    def attend(
        self, query: Queries, key: Keys, value: Values, mask: Mask, dropout_p: float = 0.0
    ) -> Outputs:
        """Attend in chunks of queries, with no [Q, K, E] tensor; see `Score.attend`."""
        kernel = compiled_additive_attention if self.compile_kernel else additive_attention
        output: Tensor = kernel(query, key, value, self.vector, mask, dropout_p)
        return output

    def blocks(self, query: Queries, key: Keys) -> Logits:
        """Sum over the width piece by piece, in the cache; see `Score.blocks`."""
        logits = CompiledLogits if self.compile_kernel else AdditiveLogits
        return logits(query, key, self.vector)


SCORES: dict[str, Callable[[int, int], Score]] = {
    "dot": lambda num_heads, head_width: Dot(),
    "scaled_dot": lambda num_heads, head_width: ScaledDot(),
    "cosine": lambda num_heads, head_width: Cosine(num_heads),
    "multiplicative": Multiplicative,
    "additive": Additive,
}


def build_score(name: str, num_heads: int, head_width: int, compile: bool = False) -> Score:
    """Return the score of that name (a key of `SCORES`); ValueError if there is none.

    `compile` chooses the compiled kernel of the additive score; the others have none.
    """
    if name not in SCORES:
        close = difflib.get_close_matches(name, SCORES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown score {name!r}; the scores are {', '.join(SCORES)}.{hint}")
    if compile:
        return Additive(num_heads, head_width, compile=True)
    return SCORES[name](num_heads, head_width)


def name_of(score: Score) -> str | None:
    """Return the name of a score of this package; None for one of the caller's own."""
    names: dict[type[Score], str] = {
        Dot: "dot",
        ScaledDot: "scaled_dot",
        Cosine: "cosine",
        Multiplicative: "multiplicative",
        Additive: "additive",
    }
    return names.get(type(score))


def check_score(score: Score, num_heads: int, width: int) -> None:
    """Raise ValueError if a score is made for other heads, or heads of another width."""
    for name, parameter in score.named_parameters():
        if parameter.shape[0] != num_heads:
            raise ValueError(
                f"The score's {name} is made for {parameter.shape[0]} heads, "
                f"but the attention has {num_heads}."
            )
        has_width = isinstance(score, (Multiplicative, Additive))
        if has_width and parameter.shape[-1] != width:
            raise ValueError(
                f"The score's {name} has the shape {tuple(parameter.shape)}, but the queries and "
                f"keys that it compares are {width} wide."
            )
