"""The shared attention module: project, score, attend, project back."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_atlas.attention.masks import Mask, merge_masks
from attention_atlas.attention.scores import Score, build_score


class Attention(nn.Module):
    """Multi-head attention with a choice of score, as self- or cross-attention.

    Letters: B batch, H heads, Q queries, K keys, D embedding width, E = D / H head width.

    The parameters have the names and the layout of `nn.MultiheadAttention`, so its state dict can
    be loaded; the learned numbers of the score, if it has any, come on top.

    `score` is the name of a score (`dot`, `scaled_dot`, `cosine`, `multiplicative`, `additive`) or
    a `Score`. `dropout` applies to the attention weights, in training only. `num_kv_heads` lets
    groups of queries share keys and values (Ainslie et al. 2023); it must divide `num_heads`.

    Maps are never returned: `record` gives them. Raises ValueError for sizes that do not fit.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        score: str | Score = "scaled_dot",
        bias: bool = True,
        dropout: float = 0.0,
        num_kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        _check_sizes(embed_dim, num_heads, num_kv_heads, dropout)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_width = embed_dim // num_heads
        self.dropout = dropout
        self.score = (
            build_score(score, num_heads, self.head_width) if isinstance(score, str) else score
        )
        _check_score(self.score, num_heads)
        self.kv_width = num_kv_heads * self.head_width
        # One weight for the projections of query, key and value: one product in self-attention.
        packed = embed_dim + 2 * self.kv_width
        self.in_proj_weight = nn.Parameter(torch.empty(packed, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(packed)) if bias else None
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)
        # Called in every forward pass with the module, query, key and mask; see recording.py.
        self.observers: tuple[Observer, ...] = ()

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Attend from query [B, Q, D] to key and value [B, K, D]; return [B, Q, D].

        Without a key this is self-attention; without a value the key is the value too.

        Masks follow `nn.MultiheadAttention`: in `key_padding_mask` [B, K] and a boolean `attn_mask`
        True means *not* attended (`scaled_dot_product_attention` has it the other way round), and a
        float mask is added to the scores. `attn_mask` is [Q, K], [B*H, Q, K] or [B, H, Q, K].
        `is_causal` lets query i attend to the keys up to i, also if Q and K differ, and goes
        together with the other masks. Where no key is left for a query, its heads give zeros.
        """
        self._check_inputs(query, key, value)
        queries, keys, values = self._project(query, key, value)
        mask = merge_masks(
            queries.shape[0],
            self.num_heads,
            queries.shape[2],
            keys.shape[2],
            queries.dtype,
            key_padding_mask,
            attn_mask,
            is_causal,
        )
        for observe in self.observers:
            observe(self, queries, keys, mask)
        dropout_p = self.dropout if self.training else 0.0
        heads = self.score.attend(queries, keys, values, mask, dropout_p)
        output: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        return output

    def extra_repr(self) -> str:
        """Describe the sizes, for `print(module)`."""
        groups = (
            "" if self.num_kv_heads == self.num_heads else f", num_kv_heads={self.num_kv_heads}"
        )
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}{groups}"

    def _project(
        self, query: Tensor, key: Tensor | None, value: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, H, Q, E], keys and values [B, num_kv_heads, K, E]."""
        widths = [self.embed_dim, self.kv_width, self.kv_width]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if (key is None or key is query) and (value is None or value is key or value is query):
            packed = F.linear(query, weight, bias)
            queries, keys, values = packed.split_with_sizes(widths, dim=-1)
        else:
            key = query if key is None else key
            weights = weight.split_with_sizes(widths)
            biases = (None,) * 3 if bias is None else bias.split_with_sizes(widths)
            queries = F.linear(query, weights[0], biases[0])
            if value is None or value is key:
                rest = None if bias is None else bias[self.embed_dim :]
                pair = F.linear(key, weight[self.embed_dim :], rest)
                keys, values = pair.chunk(2, dim=-1)
            else:
                keys = F.linear(key, weights[1], biases[1])
                values = F.linear(value, weights[2], biases[2])
        return self._split(queries), self._split(keys), self._split(values)

    def _split(self, projected: Tensor) -> Tensor:
        batch, length, width = projected.shape
        heads = width // self.head_width
        return projected.view(batch, length, heads, self.head_width).transpose(1, 2)

    def _check_inputs(self, query: Tensor, key: Tensor | None, value: Tensor | None) -> None:
        for name, tensor in (("query", query), ("key", key), ("value", value)):
            if tensor is None:
                continue
            if tensor.dim() != 3 or tensor.shape[2] != self.embed_dim:
                raise ValueError(
                    f"{name} has the shape {tuple(tensor.shape)}; "
                    f"it must be [batch, tokens, {self.embed_dim}]."
                )
            if tensor.shape[0] != query.shape[0]:
                raise ValueError(
                    f"{name} has a batch of {tensor.shape[0]}, query one of {query.shape[0]}; "
                    "they must be the same."
                )
        tokens = query if key is None else key
        if value is not None and value.shape[1] != tokens.shape[1]:
            raise ValueError(
                f"There are {tokens.shape[1]} keys and {value.shape[1]} values; "
                "there must be one value for each key."
            )


Observer = Callable[[Attention, Tensor, Tensor, Mask], None]


def _check_sizes(embed_dim: int, num_heads: int, num_kv_heads: int, dropout: float) -> None:
    if embed_dim < 1 or num_heads < 1 or num_kv_heads < 1:
        raise ValueError("embed_dim, num_heads and num_kv_heads must be 1 or more.")
    if embed_dim % num_heads != 0:
        raise ValueError(f"embed_dim {embed_dim} cannot be divided into {num_heads} equal heads.")
    if num_heads % num_kv_heads != 0:
        raise ValueError(f"num_kv_heads {num_kv_heads} does not divide num_heads {num_heads}.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout is {dropout}; it must be 0 or more and less than 1.")


def _check_score(score: Score, num_heads: int) -> None:
    for name, parameter in score.named_parameters():
        if parameter.shape[0] != num_heads:
            raise ValueError(
                f"The score's {name} is made for {parameter.shape[0]} heads, "
                f"but the attention has {num_heads}."
            )
