"""The shared attention module: project, score, attend, project back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_atlas.attention.differential import Differential, halves
from attention_atlas.attention.functional import attend_masked
from attention_atlas.attention.linear import Hedgehog
from attention_atlas.attention.masks import Mask, merge_masks
from attention_atlas.attention.observers import Pass, is_observed, show
from attention_atlas.attention.rotary import rotary_angles, rotate
from attention_atlas.attention.scores import (
    Additive,
    Cosine,
    Dot,
    Multiplicative,
    ScaledDot,
    Score,
    build_score,
)
from attention_atlas.attention.windows import Grid, Window, check_grid
from attention_atlas.attention_options import find_conflict


class Attention(nn.Module):
    """Multi-head attention with a choice of score, as self- or cross-attention.

    Letters: B batch, H heads, Q queries, K keys, D embedding width, E = D / H head width.

    The parameters have the names and the layout of `nn.MultiheadAttention`, so its state dict can
    be loaded; the learned numbers of the score and of a variant, if any, come on top.

    - `score`: the name of a score (`dot`, `scaled_dot`, `cosine`, `multiplicative`, `additive`) or
      a `Score`.
    - `dropout`: share of the attention weights that are dropped, in training only.
    - `num_kv_heads`: groups of queries share keys and values (Ainslie et al. 2023, arXiv
      2305.13245); it must divide `num_heads`.
    - `rotary`: queries and keys are turned by their positions (Su et al. 2021, arXiv 2104.09864).
    - `window`: a query sees the keys at most that many grid steps away, along each axis (Beltagy et
      al. 2020, arXiv 2004.05150, on a line).
    - `gate`: the output of each head is multiplied by a sigmoid of the query's token, one number
      per head (`headwise`) or one per value (`elementwise`) (Qiu et al. 2025, arXiv 2505.06708).
    - `null_key`: the softmax has one more key, of score and value zero, so that a row may sum to
      less than 1 (Miller 2023, "Attention is off by one").
    - `differential`: the map is the difference of two, and so may be negative (Ye et al. 2024,
      arXiv 2410.05258).
    - `linear`: a learned feature map in place of the score, at a cost of O(K) (Zhang et al. 2024,
      arXiv 2402.04347).
    - `compile`: the additive score runs in a kernel made by `torch.compile`.

    Maps are never returned: `record` gives them. Raises ValueError for sizes that do not fit and
    options that do not go together.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        score: str | Score = "scaled_dot",
        bias: bool = True,
        dropout: float = 0.0,
        num_kv_heads: int | None = None,
        rotary: bool = False,
        window: int | None = None,
        gate: str | None = None,
        null_key: bool = False,
        differential: bool = False,
        linear: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        conflict = find_conflict(
            embed_dim,
            num_heads,
            score=score if isinstance(score, str) else _name_of(score),
            dropout=dropout,
            num_kv_heads=num_kv_heads,
            rotary=rotary,
            window=window,
            gate=gate,
            null_key=null_key,
            differential=differential,
            linear=linear,
            compile=compile,
        )
        if conflict is not None:
            raise ValueError(conflict)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        self.head_width = embed_dim // num_heads
        self.dropout = dropout
        self.rotary = rotary
        self.window = window
        self.gate = gate
        self.null_key = null_key
        # Width of the queries and keys that a score compares.
        self.score_width = self.head_width // 2 if differential else self.head_width
        self.score = self._make_score(score, linear, compile)
        self.differential = Differential(self.head_width) if differential else None
        self.kv_width = self.num_kv_heads * self.head_width
        # One weight for the projections of query, key and value: one product in self-attention.
        packed = embed_dim + 2 * self.kv_width
        self.in_proj_weight = nn.Parameter(torch.empty(packed, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(packed)) if bias else None
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)
        gates = {None: 0, "headwise": num_heads, "elementwise": embed_dim}[gate]
        self.gate_proj = nn.Linear(embed_dim, gates) if gates else None

    @property
    def is_signed(self) -> bool:
        """Whether maps may be negative."""
        return self.differential is not None

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        grid: Grid | None = None,
    ) -> Tensor:
        """Attend from query [B, Q, D] to key and value [B, K, D]; return [B, Q, D].

        Without a key this is self-attention; without a value the key is the value too.

        Masks follow `nn.MultiheadAttention`: in `key_padding_mask` [B, K] and a boolean `attn_mask`
        True means *not* attended (`scaled_dot_product_attention` has it the other way round), and a
        float mask is added to the scores. `attn_mask` is [Q, K], [B*H, Q, K] or [B, H, Q, K].
        `is_causal` lets query i attend to the keys up to i, also if Q and K differ, and goes
        together with the other masks. Where no key is left for a query, its heads give zeros.

        `grid` is the shape of the token grid, row by row: (K,), a line, by default; (rows, columns)
        for patches. Tokens beyond it stand first and have no place (a CLS token). Rotary positions,
        windows and distances go by it; rotary positions and windows need self-attention.
        """
        self._check_inputs(query, key, value)
        is_self = key is None or key is query
        grid = self._grid(grid, query.shape[1], is_self)
        queries, keys, values = self._project(query, key, value)
        if self.rotary and grid is not None:
            queries, keys = self._rotate(queries, grid), self._rotate(keys, grid)
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
        mask = mask._replace(null_key=self.null_key)
        if self.window is not None and grid is not None:
            mask = mask._replace(window=Window(self.window, grid))
        heads = self._attend(queries, keys, values, mask)
        if is_observed(self):
            padding = _boolean(key_padding_mask) if is_self else None
            weight = None if self.differential is None else self.differential.weight()
            dropout_p = self.dropout if self.training else 0.0
            sides = queries, keys, values
            show(self, Pass(self.score, *sides, mask, heads, dropout_p, padding, grid, weight))
        merged = heads.transpose(1, 2)
        if self.differential is not None:
            merged = self.differential.normalise(merged)
        if self.gate_proj is not None:
            gates = self.gate_proj(query).sigmoid()
            merged = merged * gates.view(*gates.shape[:2], self.num_heads, -1)
        output: Tensor = self.out_proj(merged.flatten(2))
        return output

    def extra_repr(self) -> str:
        """Describe the sizes, for `print(module)`."""
        described = [f"embed_dim={self.embed_dim}", f"num_heads={self.num_heads}"]
        if self.num_kv_heads != self.num_heads:
            described.append(f"num_kv_heads={self.num_kv_heads}")
        options = {"rotary": self.rotary, "window": self.window, "gate": self.gate}
        options["null_key"] = self.null_key
        described += [f"{name}={value}" for name, value in options.items() if value]
        return ", ".join(described)

    def _make_score(self, score: str | Score, linear: bool, compile: bool) -> Score:
        if linear:
            return Hedgehog(self.num_heads, self.score_width)
        if isinstance(score, Score):
            if compile:
                raise ValueError("compile belongs to the score: give Additive(..., compile=True).")
            _check_score(score, self.num_heads, self.score_width)
            return score
        return build_score(score, self.num_heads, self.score_width, compile)

    def _grid(self, grid: Grid | None, num_queries: int, is_self: bool) -> Grid | None:
        """Return the grid of the tokens; None in cross-attention, where queries have no place."""
        if not is_self:
            if self.rotary or self.window is not None:
                option = "rotary" if self.rotary else "window"
                raise ValueError(
                    f"{option} needs self-attention: queries that are not the keys have no place "
                    "among them."
                )
            return None
        grid = (num_queries,) if grid is None else tuple(grid)
        check_grid(grid, num_queries)
        if self.window is not None and math.prod(grid) < num_queries:
            raise ValueError(
                f"window needs a place for every token: the grid {grid} has "
                f"{math.prod(grid)} for {num_queries} tokens."
            )
        if self.rotary and self.score_width % (2 * len(grid)):
            raise ValueError(
                f"rotary positions on {len(grid)} axes need a head width that is a multiple of "
                f"{2 * len(grid)}; queries and keys are {self.score_width} wide."
            )
        return grid

    def _rotate(self, heads: Tensor, grid: Grid) -> Tensor:
        angles = rotary_angles(grid, heads, self.score_width)
        if self.differential is None:
            return rotate(heads, angles)
        return torch.cat([rotate(half, angles) for half in halves(heads)], dim=-1)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Mask) -> Tensor:
        """Return the output of each head, [B, H, Q, E]."""
        dropout_p = self.dropout if self.training else 0.0
        if self.differential is None:
            return attend_masked(self.score, queries, keys, values, mask, dropout_p)
        first, second = (
            attend_masked(self.score, query, key, values, mask, dropout_p)
            for query, key in zip(halves(queries), halves(keys), strict=True)
        )
        return first - self.differential.weight().to(second.dtype) * second

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


def _boolean(mask: Tensor | None) -> Tensor | None:
    return mask if mask is not None and mask.dtype == torch.bool else None


def _name_of(score: Score) -> str | None:
    """The name of a score of this package; None for one of one's own."""
    names: dict[type[Score], str] = {
        Dot: "dot",
        ScaledDot: "scaled_dot",
        Cosine: "cosine",
        Multiplicative: "multiplicative",
        Additive: "additive",
    }
    return names.get(type(score))


def _check_score(score: Score, num_heads: int, width: int) -> None:
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
