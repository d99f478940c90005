"""The shared attention module: project, score, attend, project back."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from attention_atlas.attention.differential import Differential, halves
from attention_atlas.attention.linear import Hedgehog
from attention_atlas.attention.masks import Mask, merge_masks
from attention_atlas.attention.observers import Pass, is_watched, notify
from attention_atlas.attention.positions import Grid, check_grid, rotary_angles, rotate
from attention_atlas.attention.scores import Score, build_score, check_score, name_of
from attention_atlas.attention.windowed import Window, attend_in_window
from attention_atlas.attention_options import Mechanism


class Attention(nn.Module):
    """Multi-head attention with a choice of score, as self- or cross-attention.

    Letters: B batch, H heads, Q queries, K keys, D embedding width, E = D / H head width.

    The parameters have the names and the layout of `nn.MultiheadAttention`, so its state dict can
    be loaded; the learned parameters of the score and of a variant, if any, are added to them.

    - `score`: the name of a score (`dot`, `scaled_dot`, `cosine`, `multiplicative`, `additive`) or
      a `Score`.
    - `dropout`: fraction of the attention weights that are dropped, in training only.
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

    Maps are never returned: `record` computes them. Raises ValueError for sizes that do not fit and
    options that do not go together.
    """

    reports_passes = True

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
        conflict = Mechanism(
            embed_dim,
            num_heads,
            score=score if isinstance(score, str) else name_of(score),
            dropout=dropout,
            num_kv_heads=num_kv_heads,
            rotary=rotary,
            window=window,
            gate=gate,
            null_key=null_key,
            differential=differential,
            linear=linear,
            compile=compile,
        ).conflict()
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
        # Width of the queries and keys that the score compares.
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
        query: Float[Tensor, "batch queries embed_dim"],
        key: Float[Tensor, "batch keys embed_dim"] | None = None,
        value: Float[Tensor, "batch keys embed_dim"] | None = None,
        key_padding_mask: Shaped[Tensor, "batch keys"] | None = None,
        attn_mask: Shaped[Tensor, "*mask_size queries keys"] | None = None,
        is_causal: bool = False,
        grid: Grid | None = None,
    ) -> Float[Tensor, "batch queries embed_dim"]:
        """Attend from each query to the keys, and return the projected sums of their values.

        Without a key this is self-attention; without a value the key is the value too.

        Masks follow `nn.MultiheadAttention`: in a boolean `key_padding_mask` or `attn_mask` True
        means *not* attended (the reverse of `scaled_dot_product_attention`), and a float mask is
        added to the scores. `attn_mask` is [Q, K], [B*H, Q, K] or [B, H, Q, K]. `is_causal` lets
        query i attend to the keys up to i, also if Q and K differ, and may be combined with the
        other masks. If every key of a query is masked, its heads return zeros.

        `grid` is the shape of the token grid, row by row: (K,), a line, by default; (rows, columns)
        for patches. Tokens beyond it come first and have no position (a CLS token). Rotary
        positions, windows and distances are computed on it; rotary positions and windows need
        self-attention.
        """
        self._check_inputs(query, key, value)
        is_self_attention = key is None or key is query
        grid = self._grid(grid, query.shape[1], is_self_attention)

        queries, keys, values = self._project(query, key, value)
        if self.rotary and grid is not None:
            queries, keys = self._rotate(queries, grid), self._rotate(keys, grid)

        size = queries.shape[0], self.num_heads, queries.shape[2], keys.shape[2]
        mask = merge_masks(size, queries.dtype, key_padding_mask, attn_mask, is_causal)
        mask = mask._replace(null_key=self.null_key)
        window = None if self.window is None or grid is None else Window(self.window, grid)
        dropout_p = self.dropout if self.training else 0.0
        heads = self._attend(queries, keys, values, mask, window, dropout_p)

        if is_watched():
            padding = _boolean(key_padding_mask) if is_self_attention else None
            weight = None if self.differential is None else self.differential.weight()
            projected = queries, keys, values
            notify(
                self,
                Pass(self.score, *projected, mask, heads, dropout_p, padding, grid, window, weight),
            )
        return self._project_back(heads, query)

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

    def _rotate(self, heads: Tensor, grid: Grid) -> Tensor:
        angles = rotary_angles(grid, heads, self.score_width)
        if self.differential is None:
            return rotate(heads, angles)
        return torch.cat([rotate(half, angles) for half in halves(heads)], dim=-1)

    def _attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Mask,
        window: Window | None,
        dropout_p: float,
    ) -> Tensor:
        """Return the output of each head, [B, H, Q, E]."""
        attend = self.score.attend
        if window is not None:
            attend = partial(attend_in_window, window, self.score)
        if self.differential is None:
            return attend(queries, keys, values, mask, dropout_p)
        first, second = (
            attend(query, key, values, mask, dropout_p)
            for query, key in zip(halves(queries), halves(keys), strict=True)
        )
        return first - self.differential.weight().to(second.dtype) * second

    def _project_back(self, heads: Tensor, query: Tensor) -> Tensor:
        """Normalise and gate the outputs of the heads, merge and project them: [B, Q, D]."""
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
                raise ValueError("compile belongs to the score: pass Additive(..., compile=True).")
            check_score(score, self.num_heads, self.score_width)
            return score
        return build_score(score, self.num_heads, self.score_width, compile)

    def _grid(self, grid: Grid | None, num_queries: int, is_self_attention: bool) -> Grid | None:
        """Return the token grid; None in cross-attention, where queries have no position."""
        if not is_self_attention:
            if self.rotary or self.window is not None:
                option = "rotary" if self.rotary else "window"
                raise ValueError(
                    f"{option} needs self-attention: queries that are not the keys have no "
                    "position among them."
                )
            return None
        grid = (num_queries,) if grid is None else tuple(grid)
        check_grid(grid, num_queries)
        if self.window is not None and math.prod(grid) < num_queries:
            raise ValueError(
                f"window needs a position for every token: the grid {grid} has "
                f"{math.prod(grid)} for {num_queries} tokens."
            )
        if self.rotary and self.score_width % (2 * len(grid)):
            raise ValueError(
                f"rotary positions on {len(grid)} axes need a head width that is a multiple of "
                f"{2 * len(grid)}; queries and keys are {self.score_width} wide."
            )
        return grid

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
