"""From tokens to one vector: a learned query, the CLS token, or the mean."""

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attention_atlas.attention import Attention
from attention_atlas.encoder.tokens import TokenLayout, Tokens

ReadoutName = Literal["attention", "cls", "mean"]


class Readout(nn.Module):
    """Pools tokens to one vector; may add tokens of its own before the encoder."""

    def extend(self, tokens: Tokens) -> Tokens:
        """The tokens that the encoder sees: by default those of the input."""
        return tokens

    def extend_layout(self, layout: TokenLayout) -> TokenLayout:
        """The layout of the tokens that the encoder sees."""
        return layout

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """[B, K, D] to [B, D]."""


class AttentionReadout(Readout):
    """A learned query pools the tokens through the shared attention module.

    Its row is the one map that leads straight to the prediction (multi-head attention pooling,
    Lee 2019). The query has no place among the tokens, so it attends without rotary positions and
    without a window.
    """

    def __init__(self, embed_dim: int, num_heads: int, attention: dict[str, Any]) -> None:
        super().__init__()
        # Of the scale of the normalised tokens that it meets: a query near zero would weigh all
        # tokens alike, and stay near that.
        self.query = nn.Parameter(torch.randn(1, 1, embed_dim))
        anywhere = {**attention, "rotary": False, "window": None}
        self.attention = Attention(embed_dim, num_heads, **anywhere)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, K, D] to [B, D]."""
        query = self.query.expand(len(tokens.values), -1, -1)
        pooled: Tensor = self.attention(
            query, tokens.values, tokens.values, key_padding_mask=tokens.key_padding_mask
        )
        return pooled[:, 0]


class FirstReadout(Readout):
    """The first token, where the encoder brings a CLS token of its own."""

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, K, D] to [B, D]."""
        return tokens.values[:, 0]


class ClsReadout(FirstReadout):
    """A learned token that is put before the others and read after the last block (Devlin 2019)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, embed_dim), std=0.02))

    def extend(self, tokens: Tokens) -> Tokens:
        """Put the CLS token first; it has no place on the grid."""
        token = self.token.expand(len(tokens.values), -1, -1).to(tokens.values.dtype)
        mask = tokens.key_padding_mask
        if mask is not None:
            mask = nn.functional.pad(mask, (1, 0), value=False)
        return Tokens(torch.cat([token, tokens.values], dim=1), mask, tokens.grid)

    def extend_layout(self, layout: TokenLayout) -> TokenLayout:
        """The CLS token stands for no place: NaN."""
        boxes = nn.functional.pad(layout.boxes, (0, 0, 1, 0), value=float("nan"))
        valid = nn.functional.pad(layout.valid, (1, 0), value=True)
        return TokenLayout(layout.kind, boxes, valid)


class MeanReadout(Readout):
    """The mean of the valid tokens: each weighs the same."""

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, K, D] to [B, D]."""
        if tokens.key_padding_mask is None:
            return tokens.values.mean(dim=1)
        valid = (~tokens.key_padding_mask).to(tokens.values.dtype)
        total = torch.einsum("bkd,bk->bd", tokens.values, valid)
        return total / valid.sum(dim=1, keepdim=True).clamp(min=1)


def make_readout(
    readout: ReadoutName,
    embed_dim: int,
    num_heads: int,
    attention: dict[str, Any],
    has_cls: bool = False,
) -> Readout:
    """The readout of that name; an encoder may bring a CLS token of its own."""
    if readout == "attention":
        return AttentionReadout(embed_dim, num_heads, attention)
    if readout == "cls" and has_cls:
        return FirstReadout()
    return ClsReadout(embed_dim) if readout == "cls" else MeanReadout()
