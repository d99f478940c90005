"""Additive attention block by block: no whole [Q, K, E] tensor, and no weights stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from attention_atlas.attention.kernels import not_compiled, repeat_heads, widen
from attention_atlas.attention.masks import Mask, hide, masked_softmax, part_of
from attention_atlas.attention.shapes import Keys, Outputs, Queries, Values

QUERIES_PER_CHUNK = 16
# On a CPU a chunk should stay in the cache: 2**20 numbers are 4 MiB in float32.
NUMBERS_PER_CPU_CHUNK = 2**20
NUMBERS_PER_CHUNK = 2**25


@not_compiled
def additive_attention(
    query: Queries,
    key: Keys,
    value: Values,
    vector: Float[Tensor, "heads width"],
    mask: Mask,
    dropout_p: float = 0.0,
) -> Outputs:
    """Return softmax(v'tanh(q + k)) @ value with no [Q, K, E] tensor, in either direction.

    Key and value may have fewer heads, each shared by a group of queries; `vector` is v. A fully
    masked row gives zeros. The working memory is a few tensors [b, H, 16, K] and a part of
    [b, H, 16, K, E] that has at most 2**20 numbers on a CPU, in float32 (float64 for float64),
    whatever the dtype of the inputs. Gradients reach query, key, value, v and a float mask; second
    derivatives are not available.
    """
    return attend_in_blocks(AdditiveLogits, query, key, value, vector, mask, dropout_p)


class Gradients(NamedTuple):
    """Gradients by the inputs of a block's logits; `query` and `key` lack the factor 4v."""

    query: Float[Tensor, "samples heads width rows"]
    key: Float[Tensor, "samples heads width columns"]
    vector: Float[Tensor, "heads width"]


class AdditiveLogits:
    """v'tanh(q + k), any block of it, in float32 (float64 for float64).

    With r = 1 / (1 + exp(2q + 2k)) it is tanh(q + k) = 1 - 2r, and its derivative is 4r(1 - r).
    Where nothing can overflow, exp(2q + 2k) = exp(2q) exp(2k) leaves one product and one reciprocal
    per (query, key, width): on a CPU a tenth of the time of a tanh.

    The axes of r are [b, H, E, q, k]: with k innermost every elementwise step is vectorised.
    """

    @torch.no_grad()
    def __init__(self, query: Queries, key: Keys, vector: Float[Tensor, "heads width"]) -> None:
        query, key, self.vector = _widen_all(query, repeat_heads(key, query.shape[1]), vector)
        self.batch, self.heads, self.num_queries, self.width = query.shape
        self.num_keys = key.shape[2]
        self.on_cpu = query.device.type == "cpu"
        self.numbers = NUMBERS_PER_CPU_CHUNK if self.on_cpu else NUMBERS_PER_CHUNK
        self.query = 2 * query.transpose(2, 3)
        self.key = 2 * key.transpose(2, 3).contiguous()
        # On other devices the largest number would need a synchronisation.
        self.factored = self.on_cpu and self._factor()
        self._row, self._total = self.vector.unsqueeze(-2), self.vector.sum(-1)[:, None, None]
        self._buffer: Tensor | None = None
        self._held: _Piece | None = None

    @torch.no_grad()
    def __call__(
        self, samples: slice, rows: slice, keys: slice
    ) -> Float[Tensor, "samples heads rows columns"]:
        """Return the logits of these samples, queries and keys."""
        samples, rows, keys = self._inside(samples, rows, keys)
        pieces = self._pieces(samples, rows, keys)
        if len(pieces) == 1:
            return self._piece_logits(pieces[0])
        logits = self.query.new_empty(_size(samples), self.heads, _size(rows), _size(keys))
        for piece in pieces:
            piece.cut(logits, samples, rows, keys).copy_(self._piece_logits(piece))
        return logits

    def gradients(
        self,
        samples: slice,
        rows: slice,
        keys: slice,
        upstream: Float[Tensor, "samples heads rows columns"],
    ) -> Gradients:
        """Return the gradients of a block by the gradient of its logits."""
        pieces = self._pieces(samples, rows, keys)
        if len(pieces) == 1:
            return self._piece_gradients(pieces[0], upstream)
        sizes = _size(samples), self.heads, self.width
        whole = Gradients(
            self.query.new_zeros(*sizes, _size(rows)),
            self.key.new_zeros(*sizes, _size(keys)),
            torch.zeros_like(self.vector),
        )
        for piece in pieces:
            part = self._piece_gradients(piece, piece.cut(upstream, samples, rows, keys))
            heads = _relative(piece.samples, samples), piece.heads, slice(None)
            whole.query[*heads, _relative(piece.rows, rows)] += part.query
            whole.key[*heads, _relative(piece.keys, keys)] += part.key
            whole.vector[piece.heads] += part.vector
        return whole

    def steps(self) -> tuple[int, int]:
        """Return the number of samples and of queries in a block."""
        queries = max(1, min(QUERIES_PER_CHUNK, self.num_queries))
        row = max(1, self.heads * self.num_keys * self.width)
        return max(1, min(self.batch, self.numbers // (row * queries))), queries

    def _factor(self) -> bool:
        """Turn 2q and 2k into exponentials whose products are exp(2q + 2k); False if they overflow.

        With c the middle of the 2k of one width they are exp(2q + c) and exp(2k - c). Nothing
        overflows while the 2k are near each other; the 2q may have any value, because they are
        clamped where all r of a query are 0 or 1 in the working precision anyway.
        """
        if self.query.numel() == 0 or self.key.numel() == 0:
            return False
        # Rounded, so that 2k - c is exact for numbers of ordinary size: there c is 0.
        centre = ((self.key.amax(-1, keepdim=True) + self.key.amin(-1, keepdim=True)) / 2).round_()
        query, key = self.query + centre, self.key - centre
        bound, reach = torch.stack([query.abs().max(), key.abs().max()]).tolist()
        largest, margin = (700, 40) if query.dtype == torch.float64 else (80, 20)
        bound = min(bound, reach + margin)
        if not bound + reach < largest:  # not >=, which would let NaN pass
            return False
        self.query, self.key = query.clamp_(-bound, bound).exp_(), key.exp_()
        return True

    def _inside(self, *slices: slice) -> Iterator[slice]:
        sizes = self.batch, self.num_queries, self.num_keys
        for part, size in zip(slices, sizes, strict=True):
            yield slice(*part.indices(size)[:2])

    def _pieces(self, samples: slice, rows: slice, keys: slice) -> list[_Piece]:
        """Cut a block into pieces whose r fits the buffer: samples first, keys last."""
        block = _Piece(samples, slice(0, self.heads), rows, keys)
        room = max(1, self.numbers // max(1, self.width))
        if math.prod(map(_size, block)) <= room:
            return [block]
        cuts = []
        for whole in reversed(block):
            step = max(1, min(room, _size(whole)))
            room = max(1, room // step)
            cuts.append(
                [
                    slice(start, min(start + step, whole.stop))
                    for start in range(whole.start, whole.stop, step)
                ]
            )
        return [_Piece(*parts[::-1]) for parts in product(*cuts)]

    def _piece_logits(self, piece: _Piece) -> Tensor:
        complement = self._complement(piece)
        along = self._row[piece.heads] @ complement.flatten(3)
        along = along.view(*complement.shape[:2], *complement.shape[3:])
        return torch.add(self._total[piece.heads], along, alpha=-2)

    def _piece_gradients(self, piece: _Piece, upstream: Tensor) -> Gradients:
        complement = self._complement(piece)
        self._held = None  # what follows overwrites it
        along = (upstream.flatten(2).unsqueeze(2) @ complement.flatten(3).mT).squeeze(2).sum(0)
        vector = torch.add(upstream.sum((0, 2, 3))[:, None], along, alpha=-2)
        torch.addcmul(complement, complement, complement, value=-1, out=complement)
        complement *= upstream.unsqueeze(2)
        return Gradients(complement.sum(-1), complement.sum(-2), vector)

    def _complement(self, piece: _Piece) -> Tensor:
        """Return r of a piece, [b, h, E, q, k]; the next call overwrites it."""
        query = self.query[piece.samples, piece.heads, :, piece.rows, None]
        key = self.key[piece.samples, piece.heads, :, None, piece.keys]
        shape = (*query.shape[:-1], key.shape[-1])
        if self._buffer is None or self._buffer.numel() < math.prod(shape):
            self._buffer = self.query.new_empty(math.prod(shape))
            self._held = None
        buffer = self._buffer[: math.prod(shape)].view(shape)
        if piece == self._held:
            return buffer
        self._held = piece
        if self.factored:
            return torch.mul(query, key, out=buffer).add_(1).reciprocal_()
        return torch.add(query, key, out=buffer).neg_().sigmoid_()


class _Piece(NamedTuple):
    """A part of a block."""

    samples: slice
    heads: slice
    rows: slice
    keys: slice

    def cut(self, block: Tensor, samples: slice, rows: slice, keys: slice) -> Tensor:
        """Return the piece of a tensor [b, H, q, k] of these samples, rows and keys."""
        return block[
            _relative(self.samples, samples),
            self.heads,
            _relative(self.rows, rows),
            _relative(self.keys, keys),
        ]


def attend_in_blocks(
    logits_type: type[AdditiveLogits],
    query: Queries,
    key: Keys,
    value: Values,
    vector: Float[Tensor, "heads width"],
    mask: Mask,
    dropout_p: float,
) -> Outputs:
    """Attend with logits computed block by block; see `additive_attention`."""
    key, value = repeat_heads(key, query.shape[1]), repeat_heads(value, query.shape[1])
    # One draw from the global generator: a run can be repeated, and backward drops the same.
    seed = int(torch.randint(2**62, ())) if dropout_p > 0 else 0
    options = _Options(logits_type, mask.is_causal, mask.null_key, dropout_p, seed)
    output: Tensor = _AdditiveAttention.apply(query, key, value, vector, mask.tensor, options)
    return output


def _widen_all(*tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else widen(tensor) for tensor in tensors]


class _Options(NamedTuple):
    logits_type: type[AdditiveLogits]
    is_causal: bool
    null_key: bool
    dropout_p: float
    seed: int


class _Block(NamedTuple):
    """Some queries of some samples; `keys` are those that any of them may attend to."""

    samples: slice
    rows: slice
    keys: slice
    weights: Tensor  # [b, H, q, k], before dropout
    noise: Tensor | None  # [b, H, q, k]: 0 where dropped, 1 / (1 - p) elsewhere


def _blocks(logits: AdditiveLogits, mask: Tensor | None, options: _Options) -> Iterator[_Block]:
    """Yield the weights block by block, always in the same order."""
    samples_step, rows_step = logits.steps()
    device = logits.query.device
    generator = torch.Generator(device).manual_seed(options.seed)
    for first in range(0, logits.batch, samples_step):
        samples = slice(first, min(first + samples_step, logits.batch))
        for start in range(0, logits.num_queries, rows_step):
            rows = slice(start, min(start + rows_step, logits.num_queries))
            stop = min(rows.stop, logits.num_keys) if options.is_causal else logits.num_keys
            keys = slice(0, stop)
            part = None if mask is None else part_of(mask, samples, rows, keys)
            positions = None
            if options.is_causal:
                positions = torch.arange(rows.start, rows.stop, device=device)
            normalise = _null_key_softmax if options.null_key else masked_softmax
            weights = normalise(logits(samples, rows, keys), part, positions)
            noise = None
            if options.dropout_p > 0:
                keep_p = 1 - options.dropout_p
                noise = torch.empty_like(weights).bernoulli_(keep_p, generator=generator)
                noise /= keep_p
            yield _Block(samples, rows, keys, weights, noise)


def _null_key_softmax(logits: Tensor, mask: Tensor | None, causal_rows: Tensor | None) -> Tensor:
    """Return exp(l) / (1 + sum of exp(l)): one more key has the logit 0 and the value 0."""
    logits = hide(logits, mask, causal_rows)
    total = logits.logsumexp(-1, keepdim=True)
    return (logits - torch.logaddexp(total, torch.zeros_like(total))).exp()


class _AdditiveAttention(torch.autograd.Function):
    """Additive attention over blocks of queries, which the backward pass computes again."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        vector: Tensor,
        mask: Tensor | None,
        options: _Options,
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, vector, mask)
        ctx.options = options
        wide_value, mask = _widen_all(value, mask)
        output = value.new_empty(*query.shape[:3], value.shape[-1])
        # Autocast would compute the products below in half precision.
        with torch.autocast(query.device.type, enabled=False):
            logits = options.logits_type(query, key, vector)
            for samples, rows, keys, weights, noise in _blocks(logits, mask, options):
                weights = weights if noise is None else weights * noise
                output[samples, :, rows] = weights @ wide_value[samples, :, keys]
        return output

    @staticmethod
    # Without it, torch.compile would trace a backward() inside the function that it compiles.
    @not_compiled
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        dtypes = [None if saved is None else saved.dtype for saved in ctx.saved_tensors]
        query, key, value, vector, mask = _widen_all(*ctx.saved_tensors)
        query_gradient = torch.zeros_like(query.transpose(2, 3))
        key_gradient = torch.zeros_like(key.transpose(2, 3))
        value_gradient = torch.zeros_like(value)
        vector_gradient = torch.zeros_like(vector)
        mask_gradient = torch.zeros_like(mask) if ctx.needs_input_grad[4] else None
        with torch.autocast(query.device.type, enabled=False):
            logits = ctx.options.logits_type(query, key, vector)
            for samples, rows, keys, weights, noise in _blocks(logits, mask, ctx.options):
                upstream = gradient[samples, :, rows].to(query.dtype)
                weights_gradient = upstream @ value[samples, :, keys].mT
                if noise is None:
                    value_gradient[samples, :, keys] += weights.mT @ upstream
                else:
                    weights_gradient *= noise
                    value_gradient[samples, :, keys] += (weights * noise).mT @ upstream
                logits_gradient = _softmax_backward(weights, weights_gradient)
                if mask_gradient is not None:
                    part = part_of(mask_gradient, samples, rows, keys)
                    part += logits_gradient.sum_to_size(part.shape)
                gradients = logits.gradients(samples, rows, keys, logits_gradient)
                query_gradient[samples, :, :, rows] = gradients.query
                key_gradient[samples, ..., keys] += gradients.key
                vector_gradient += gradients.vector
        slope = 4 * vector.unsqueeze(-1)
        wide_gradients = (
            (query_gradient * slope).transpose(2, 3),
            (key_gradient * slope).transpose(2, 3),
            value_gradient,
            vector_gradient,
            mask_gradient,
        )
        narrow = [
            None if wide is None else wide.to(dtype)
            for wide, dtype in zip(wide_gradients, dtypes, strict=True)
        ]
        return (*narrow, None)


def _softmax_backward(weights: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of the logits. A null key adds nothing to the sum: its value is 0."""
    product = weights * gradient
    return product.addcmul_(weights, product.sum(-1, keepdim=True), value=-1)


def _size(part: slice) -> int:
    size: int = part.stop - part.start
    return size


def _relative(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
