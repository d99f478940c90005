"""The pre-norm Transformer encoder."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from attention_atlas.attention import Attention
from attention_atlas.encoder.tokens import Tokens


class DropPath(nn.Module):
    """Stochastic depth (Huang 2016, arXiv 1603.09382): in training, drop whole samples of a branch.

    As `torchvision.ops.StochasticDepth(p, "row")`, whose import takes as long as that of torch.

    Args:
        p: Probability that a sample is dropped; the others are scaled by 1 / (1 - p).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, branch: Tensor) -> Tensor:
        """[B, ...] to [B, ...]."""
        if not self.training or self.p == 0:
            return branch
        survival = 1 - self.p
        mask = branch.new_empty(len(branch), *[1] * (branch.ndim - 1)).bernoulli_(survival)
        return branch * (mask / survival if survival else mask)


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, each pre-normalised and residual.

    The arguments are those of `TransformerEncoder`; `drop_path` is the rate of this block.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float,
        dropout: float,
        drop_path: float,
        attention: dict[str, Any],
    ) -> None:
        super().__init__()
        hidden = round(mlp_ratio * embed_dim)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.attention = Attention(embed_dim, num_heads, **attention)
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, embed_dim)
        )
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode tokens: [B, K, D] to [B, K, D]."""
        attended = self.attention(
            self.attention_norm(tokens.values),
            key_padding_mask=tokens.key_padding_mask,
            grid=tokens.grid,
        )
        values = tokens.values + self.drop_path(self.dropout(attended))
        values = values + self.drop_path(self.dropout(self.mlp(self.mlp_norm(values))))
        return replace(tokens, values=values)


class Encoder(nn.Module, ABC):
    """Layers of attention between tokens."""

    @property
    @abstractmethod
    def attention_names(self) -> list[str]:
        """Names of the attention modules, first layer first."""

    @property
    @abstractmethod
    def num_heads(self) -> list[int]:
        """Number of heads of each layer."""


class TransformerEncoder(Encoder):
    """Blocks and a final normalisation.

    Args:
        embed_dim: D.
        num_heads: H.
        depth: L; 0 only normalises the tokens.
        mlp_ratio: Hidden width of the perceptrons divided by D.
        dropout: Dropout rate of each residual branch.
        drop_path: Stochastic depth of the last block; it grows linearly with the depth.
        attention: Options of `Attention` besides its sizes.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        depth: int,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
        drop_path: float = 0.0,
        attention: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio, dropout, rate, attention or {})
            for rate in (drop_path * (index + 1) / depth for index in range(depth))
        )
        self.norm = nn.LayerNorm(embed_dim)
        self._num_heads = num_heads

    @property
    def attention_names(self) -> list[str]:
        """Names of the attention modules, first layer first."""
        return [f"layers.{index}.attention" for index in range(len(self.layers))]

    @property
    def num_heads(self) -> list[int]:
        """Number of heads of each layer."""
        return [self._num_heads] * len(self.layers)

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode tokens: [B, K, D] to [B, K, D]."""
        for layer in self.layers:
            tokens = layer(tokens)
        return replace(tokens, values=self.norm(tokens.values))
