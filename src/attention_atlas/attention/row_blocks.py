"""The rows of a map, computed a block at a time, for maps and statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from attention_atlas.attention.kernels import Workspace
from attention_atlas.attention.masks import Mask, fully_masked, part_of, restrict
from attention_atlas.attention.scores import Score
from attention_atlas.attention.shapes import Keys, Queries
from attention_atlas.attention.windowed import Window

ROWS_PER_BLOCK = 128
# On a CPU a block should stay in the cache: 2**19 numbers are 2 MiB in float32.
NUMBERS_PER_CPU_BLOCK = 2**19
NUMBERS_PER_BLOCK = 2**25
FEW_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a map, before they are divided by their sums. The next block overwrites them.

    Attributes:
        samples: Samples of the block.
        rows: Queries of the block, counted among those recorded.
        keys: Keys of the block; outside of them the rows are zero.
        weights: exp(logit - largest), never negative.
        logs: logit - largest, finite where a key is hidden too.
        total: The sum of a row with its null key; 1 for a fully masked row.
        null: The weight of the null key; None if there is none.
        signed: The rows of a map that may be negative; `weights`, `logs` and `total` are then of
            the magnitudes. None for other maps.
    """

    samples: slice
    rows: slice
    keys: slice
    weights: Float[Tensor, "samples heads rows columns"]
    logs: Float[Tensor, "samples heads rows columns"]
    total: Float[Tensor, "samples heads rows 1"]
    null: Float[Tensor, "samples heads rows 1"] | None = None
    signed: Float[Tensor, "samples heads rows columns"] | None = None

    def of_map(
        self, out: Float[Tensor, "samples heads rows columns"] | None = None
    ) -> Float[Tensor, "samples heads rows columns"]:
        """Return the rows as in the map; written to `out` if there is one."""
        if self.signed is None:
            return torch.div(self.weights, self.total, out=out)
        return self.signed if out is None else out.copy_(self.signed)


class RowBlocks:
    """Iterates over the rows of a map in blocks [b, H, 128 or fewer, K].

    `positions` are those of the queries in the sequence, by default 0 to Q - 1; the rows of
    `mask.tensor` are those of `query`. A block has few samples and rows, so that it stays in the
    cache of a CPU, and no more keys than its rows may attend to by a causal mask or a window.
    """

    def __init__(
        self,
        score: Score,
        query: Queries,
        key: Keys,
        mask: Mask,
        window: Window | None = None,
        positions: Sequence[int] | None = None,
    ) -> None:
        self.batch, self.heads, self.num_queries, _ = query.shape
        self.num_keys = key.shape[2]
        self.device = query.device
        self.logits = score.blocks(query, key)
        self.mask = mask
        self.window = window
        self.lengths = _valid_lengths(mask.tensor, self.batch)
        self.workspace = Workspace()
        self.positions = range(self.num_queries) if positions is None else positions

    def __iter__(self) -> Iterator[Rows]:
        if self.num_keys == 0:
            return
        samples_step, rows_step = self._steps()
        for start in range(0, self.num_queries, rows_step):
            rows = slice(start, min(start + rows_step, self.num_queries))
            keys = self._keys(self.positions[rows])
            for first in range(0, self.batch, samples_step):
                samples = slice(first, min(first + samples_step, self.batch))
                yield self._rows(samples, rows, *self._without_padding(samples, keys))

    def _steps(self) -> tuple[int, int]:
        """Return the number of samples and of rows in a block."""
        on_cpu = self.device.type == "cpu"
        numbers = NUMBERS_PER_CPU_BLOCK if on_cpu else NUMBERS_PER_BLOCK
        row = max(1, self.heads * self.num_keys)
        rows = max(1, min(ROWS_PER_BLOCK, self.num_queries, numbers // row))
        samples = max(1, numbers // (row * rows))
        if self.lengths is not None and samples <= FEW_SAMPLES:
            samples = 1  # which needs no mask
        return samples, rows

    def _without_padding(self, samples: slice, keys: slice) -> tuple[slice, bool]:
        """Cut off the keys that are padding in every sample; return whether a mask is needed."""
        if self.lengths is None:
            return keys, self.mask.tensor is not None
        lengths = self.lengths[samples]
        stop = min(keys.stop, max(lengths))
        if stop <= keys.start:
            return keys, True
        return slice(keys.start, stop), min(lengths) < stop

    def _rows(self, samples: slice, rows: slice, keys: slice, is_masked: bool) -> Rows:
        logits, shown = self._masked_logits(samples, rows, keys, is_masked)
        largest = logits.amax(-1, keepdim=True)
        if self.mask.null_key:
            largest.clamp_min_(0)
        elif shown is not None:
            dead = fully_masked(shown)
            largest.masked_fill_(dead, 0)
        logs = logits.sub_(largest)
        weights = torch.exp(logs, out=self.workspace.tensor(logs))
        if shown is not None:
            logs.clamp_min_(torch.finfo(logs.dtype).min)
        total, null = weights.sum(-1, keepdim=True), None
        if self.mask.null_key:
            null = largest.neg_().exp_()
            total += null
        elif shown is not None:
            total.masked_fill_(dead, 1)
        return Rows(samples, rows, keys, weights, logs, total, null)

    def _masked_logits(
        self, samples: slice, rows: slice, keys: slice, is_masked: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the logits of a block, -inf where a key is hidden, and its mask, as in `Mask`."""
        logits = self.logits(samples, rows, keys)
        shown = self._shown(samples, rows, keys, is_masked)
        if shown is None:
            return logits, None
        if shown.dtype == torch.bool:
            return logits.masked_fill_(~shown, -torch.inf), shown
        return logits.add_(shown), shown

    def _keys(self, positions: Sequence[int]) -> slice:
        """Return the keys that any of these rows may attend to."""
        start, stop = 0, self.num_keys
        if self.mask.is_causal:
            stop = min(stop, max(positions) + 1)
        if self.window is not None:
            start = max(start, min(positions) - self.window.reach)
            stop = min(stop, max(positions) + self.window.reach + 1)
        return slice(start, stop)

    def _shown(self, samples: slice, rows: slice, keys: slice, is_masked: bool) -> Tensor | None:
        """Return the mask of a block, as in `Mask.tensor`; None if it hides no key."""
        shown = None
        if self.mask.is_causal or self.window is not None:
            queries = torch.tensor(self.positions[rows], device=self.device)
            tokens = torch.arange(keys.start, keys.stop, device=self.device)
            shown = torch.ones(len(queries), len(tokens), dtype=torch.bool, device=self.device)
            if self.mask.is_causal:
                shown &= tokens <= queries[:, None]
            if self.window is not None:
                shown &= self.window.shows(queries, tokens)
        if self.mask.tensor is None or not is_masked:
            return shown
        part = part_of(self.mask.tensor, samples, rows, keys)
        return part if shown is None else restrict(part, shown)


def _valid_lengths(mask: Tensor | None, batch: int) -> list[int] | None:
    """Return how many keys of each sample are valid, if the mask is padding behind them.

    None for other masks, and for devices other than the CPU, which would have to be synchronised.
    """
    if mask is None or mask.device.type != "cpu" or mask.dtype != torch.bool:
        return None
    if mask.shape[0] != batch or mask.shape[1:3] != (1, 1):
        return None
    valid = mask[:, 0, 0]
    if bool((valid[:, 1:] > valid[:, :-1]).any()):
        return None
    lengths: list[int] = valid.sum(-1).tolist()
    return lengths


def difference_rows(
    first: RowBlocks, second: RowBlocks, weight: Float[Tensor, ""]
) -> Iterator[Rows]:
    """Yield the rows of one map minus `weight` times those of another of the same shape."""
    for one, other in zip(first, second, strict=True):
        signed = one.of_map().sub_(weight * other.of_map())
        magnitudes = signed.abs()
        total = magnitudes.sum(-1, keepdim=True)
        logs = magnitudes.log().clamp_min_(torch.finfo(signed.dtype).min)
        total.masked_fill_(total == 0, 1)
        yield Rows(one.samples, one.rows, one.keys, magnitudes, logs, total, signed=signed)
