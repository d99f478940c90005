"""Embeddings: tokens of an input, and the part of the input that each stands for."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from attention_atlas.encoder.positions import (
    Positions,
    position_table,
    sinusoidal,
    sinusoidal_grid,
)
from attention_atlas.encoder.tokens import (
    Batch,
    LayoutKind,
    TokenLayout,
    Tokens,
    grid_boxes,
    padding_mask,
    same_boxes,
    time_frequency_boxes,
)
from attention_atlas.errors import InputError

Stem = Literal["linear", "conv", "pool"]


class Embedding(nn.Module):
    """Makes tokens of a batch, and describes where they lie in the input.

    Embeddings have in common `embed_dim` (D), `positions` (see `position_table`) and the rate
    `dropout`.
    """

    layout_kind: ClassVar[LayoutKind]

    @abstractmethod
    def forward(self, batch: Batch) -> Tokens:
        """Return the tokens of a prepared batch."""

    @abstractmethod
    def token_layout(self, batch: Batch) -> TokenLayout:
        """Return where the tokens of a prepared batch lie in the input."""


class TextEmbedding(Embedding):
    """A vector per token id, plus its position, plus one per frequent bigram.

    A bigram ("not good") means more than its words, before any layer has learned to attend to
    neighbours (word n-grams as in Joulin 2017). Its vector is added to its second token, and
    vanishes as soon as one of the two is masked.

    Args:
        vocab_size: Number of token ids; id 0 is padding.
        max_length: Maximum number of tokens in one input.
        vectors: [vocab_size, D], initial token vectors; random by default.
        pairs: [N] int64, sorted: first id * vocab_size + second id of each bigram with a vector,
            which is initialized to zero.
        pair_dropout: Dropout rate of whole bigrams.
    """

    layout_kind = "character_span"

    pairs: Tensor

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        max_length: int,
        positions: Positions = "learned",
        dropout: float = 0.0,
        vectors: Tensor | None = None,
        pairs: Tensor | None = None,
        pair_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, embed_dim, padding_idx=0)
        nn.init.normal_(self.token.weight, std=0.02)
        with torch.no_grad():
            if vectors is not None:
                self.token.weight.copy_(vectors)
            self.token.weight[0] = 0
        self.position = position_table(positions, sinusoidal(max_length, embed_dim))
        self.dropout = nn.Dropout(dropout)
        self.pair = None
        if pairs is not None and len(pairs):
            self.register_buffer("pairs", pairs)
            self.pair = nn.Embedding(len(pairs) + 1, embed_dim, padding_idx=0)  # 0: no such pair
            nn.init.zeros_(self.pair.weight)
        self.pair_dropout = nn.Dropout(pair_dropout)

    def forward(self, batch: Batch) -> Tokens:
        """Embed `batch["inputs"]` [B, K] of which `batch["lengths"]` [B] tokens are valid."""
        ids = batch["inputs"]
        values = self.token(ids) + self.position[: ids.shape[1]]
        if self.pair is not None:
            scale = self.pair_dropout(torch.ones_like(values[..., :1]))
            values = values + scale * self.pair(self._pair_ids(ids))
        padding = padding_mask(batch["lengths"], ids.shape[1])
        return Tokens(self.dropout(values), padding, grid=(ids.shape[1],))

    def _pair_ids(self, ids: Tensor) -> Tensor:
        """Return the index of each token and its predecessor in `pairs`, from 1; 0 if missing."""
        before = nn.functional.pad(ids[:, :-1], (1, 0))
        keys = before * self.token.num_embeddings + ids
        indexes = torch.searchsorted(self.pairs, keys).clamp(max=len(self.pairs) - 1)
        return torch.where(self.pairs[indexes] == keys, indexes + 1, 0)

    def token_layout(self, batch: Batch) -> TokenLayout:
        """Return the characters of each token, [start, end)."""
        spans = batch["spans"].float()
        return TokenLayout(self.layout_kind, spans, ~padding_mask(batch["lengths"], spans.shape[1]))


class PatchEmbedding(Embedding):
    """Square patches of an image, row by row, plus their positions.

    Args:
        image_size: Height and width in pixels.
        channels: 1 or 3.
        patch_size: Side of a patch in pixels; the convolutional stem needs a power of two.
        stem: `linear` projects each patch (Dosovitskiy 2021); `conv` is a stack of 3 x 3
            convolutions of stride 2, which trains faster on little data (Xiao 2021); `pool` has
            convolutions of stride 1, each followed by max pooling, at a higher cost and accuracy
            (Hassani 2021).
    """

    layout_kind = "patch_box"

    def __init__(
        self,
        image_size: int,
        channels: int,
        patch_size: int,
        embed_dim: int,
        stem: Stem = "conv",
        positions: Positions = "learned",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise InputError(
                f"embedding.patch_size={patch_size} does not divide the image size {image_size}."
            )
        self.patch_size = patch_size
        self.side = image_size // patch_size
        self.stem = _stem(stem, channels, (patch_size, patch_size), embed_dim)
        self.position = position_table(positions, sinusoidal_grid(self.side, self.side, embed_dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Tokens:
        """Embed `batch["inputs"]` [B, channels, height, width]."""
        values = self.stem(batch["inputs"]).flatten(2).transpose(1, 2)
        return Tokens(self.dropout(values + self.position), grid=(self.side, self.side))

    def token_layout(self, batch: Batch) -> TokenLayout:
        """Return the pixels of each patch: top, left, bottom, right."""
        edges = self.patch_size * torch.arange(self.side + 1)
        return same_boxes(self.layout_kind, grid_boxes(edges, edges), batch)


class SpectrogramEmbedding(Embedding):
    """Frames or time-frequency patches of a log-mel spectrogram, plus their positions.

    Args:
        num_mels: Mel bands.
        num_frames: Maximum number of frames in one input.
        patch_frames: Frames per token; the convolutional stem needs a power of two.
        patch_mels: Mel bands per token; None takes all, so that a token is an interval of time.
        hop_seconds: Time from one frame to the next, in seconds.
        mel_edges: The num_mels + 1 edges of the mel bands in hertz.
        stem: `linear` projects each patch; `conv` is a stack of convolutions of stride 2 that
            halves time, and frequency where patches have one; `pool` halves by max pooling.
    """

    layout_kind = "time_frequency_box"

    def __init__(
        self,
        num_mels: int,
        num_frames: int,
        embed_dim: int,
        hop_seconds: float,
        mel_edges: Sequence[float],
        patch_frames: int = 4,
        patch_mels: int | None = None,
        stem: Stem = "conv",
        positions: Positions = "learned",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if patch_mels is not None and num_mels % patch_mels:
            raise InputError(
                f"embedding.patch_mels={patch_mels} does not divide the {num_mels} mel bands."
            )
        self.patch_frames = patch_frames
        self.patch_mels = patch_mels or num_mels
        self.rows = num_mels // self.patch_mels
        self.columns = math.ceil(num_frames / patch_frames)
        self.grid: tuple[int, ...] = (
            (self.columns,) if patch_mels is None else (self.rows, self.columns)
        )
        self.hop_seconds = hop_seconds
        self.mel_edges = tuple(mel_edges)
        if patch_mels is None:
            self.stem = _frame_stem(stem, num_mels, patch_frames, embed_dim)
            fixed = sinusoidal(self.columns, embed_dim)
        else:
            self.stem = _stem(stem, 1, (patch_mels, patch_frames), embed_dim)
            fixed = sinusoidal_grid(self.rows, self.columns, embed_dim)
        self.position = position_table(positions, fixed)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Tokens:
        """Embed `batch["inputs"]` [B, mels, frames]; `batch["lengths"]` [B] counts valid frames."""
        spectrogram = batch["inputs"]
        missing = self.columns * self.patch_frames - spectrogram.shape[-1]
        spectrogram = nn.functional.pad(spectrogram, (0, missing))
        if len(self.grid) == 2:
            spectrogram = spectrogram[:, None]
        values = self.stem(spectrogram).flatten(2).transpose(1, 2)
        values = self.dropout(values + self.position)
        return Tokens(values, self._padding(batch), self.grid)

    def _padding(self, batch: Batch) -> Tensor | None:
        """Return [B, K], True for tokens without a valid frame; None without padding."""
        if "lengths" not in batch:
            return None
        columns = torch.ceil(batch["lengths"] / self.patch_frames)
        return padding_mask(columns, self.columns).repeat(1, self.rows)

    def token_layout(self, batch: Batch) -> TokenLayout:
        """Return start in seconds, low edge in hertz, end, high edge of each token."""
        edges = torch.tensor(self.mel_edges)[:: self.patch_mels]
        times = self.hop_seconds * self.patch_frames * torch.arange(self.columns + 1)
        layout = same_boxes(self.layout_kind, time_frequency_boxes(times, edges), batch)
        padding = self._padding(batch)
        return layout if padding is None else replace(layout, valid=~padding)


def _halvings(size: int, name: str) -> int:
    """Return the number of strides of 2 in a patch."""
    if size & (size - 1):
        raise InputError(
            f"The convolutional stem needs a power of two, got embedding.{name}={size}; "
            "take another size or embedding.stem=linear."
        )
    return size.bit_length() - 1


def _stem(stem: Stem, channels: int, patch: tuple[int, int], embed_dim: int) -> nn.Module:
    """Make a stem: [B, channels, height, width] to [B, D, height / patch[0], width / patch[1]]."""
    if stem == "linear":
        return nn.Conv2d(channels, embed_dim, kernel_size=patch, stride=patch)
    halvings = [_halvings(patch[0], "patch_size"), _halvings(patch[1], "patch_frames")]
    depth = max(*halvings, 1)
    layers: list[nn.Module] = []
    width = channels
    for level in range(depth):
        stride = (1 + (level < halvings[0]), 1 + (level < halvings[1]))
        out = max(embed_dim >> (depth - 1 - level), 8)
        pool = [nn.MaxPool2d(3, stride, padding=1)] if stem == "pool" else []
        step = 1 if pool else stride
        layers += [nn.Conv2d(width, out, 3, step, padding=1, bias=False), *pool]
        layers += [nn.BatchNorm2d(out), nn.GELU()]
        width = out
    layers += [nn.Conv2d(width, embed_dim, 1)]
    # Channels-last convolutions take two thirds of the time on a CPU.
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _frame_stem(stem: Stem, num_mels: int, patch_frames: int, embed_dim: int) -> nn.Module:
    """Make a stem over frames: [B, mels, frames] to [B, D, frames / patch_frames]."""
    if stem == "linear":
        return nn.Conv1d(num_mels, embed_dim, kernel_size=patch_frames, stride=patch_frames)
    layers: list[nn.Module] = []
    width = num_mels
    for _ in range(max(_halvings(patch_frames, "patch_frames"), 1)):
        stride = 2 if patch_frames > 1 else 1
        pool = [nn.MaxPool1d(3, stride, padding=1)] if stem == "pool" else []
        step = 1 if pool else stride
        layers += [nn.Conv1d(width, embed_dim, 5, step, padding=2, bias=False), *pool]
        layers += [nn.BatchNorm1d(embed_dim), nn.GELU()]
        width = embed_dim
    return nn.Sequential(*layers, nn.Conv1d(width, embed_dim, 1))
