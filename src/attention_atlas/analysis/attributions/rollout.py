"""Attention rollout: the weights of all layers, multiplied."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from attention_atlas.analysis.attributions.raw import pool_rows
from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.encoder import AttentionReadout


def mixing(
    maps: Float[Tensor, "batch heads tokens tokens"],
) -> Float[Tensor, "batch tokens tokens"]:
    """Return the fraction of each token after a layer that comes from each token before it.

    0.5 A + 0.5 I with the mean A of the heads, divided by the sums of the rows (Abnar and Zuidema
    2020, section 3): half is the residual connection. With a null key a row sums to less before
    that; the value of the null key is zero, so its weight goes to the other keys in proportion.
    """
    mean = maps.mean(dim=1)
    mixed = 0.5 * mean + 0.5 * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    # Without keepdim, column j would be divided by the sum of row j.
    return mixed / mixed.sum(dim=-1, keepdim=True)


def roll_out(
    maps: Sequence[Float[Tensor, "batch heads tokens tokens"]], start: Float[Tensor, "batch tokens"]
) -> Float[Tensor, "batch tokens"]:
    """Propagate `start`, weights of the encoded tokens, back to the input.

    r = s M_L ... M_1 for the maps of the layers 1 to L and M = `mixing`, computed as a row times a
    matrix from the last layer to the first.
    """
    relevance = start
    for layer in reversed(maps):
        relevance = torch.einsum("bq,bqk->bk", relevance.to(layer.dtype), mixing(layer))
    return relevance


def encoded_weights(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return how the readout weights the encoded tokens, mean of heads.

    It is the readout's row, all on the CLS token, or the same for each valid token.
    """
    if isinstance(recorded.model.readout, AttentionReadout):
        row = recorded.map(recorded.leading_module)
        return pool_rows(row, recorded.leading_weights)
    return recorded.pooling


def rollout(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928).

    r = s M_L ... M_1 with M = 0.5 A + 0.5 I, where s is the readout's row, the CLS token or the
    mean of the valid tokens. It ignores values, gates and perceptrons. It sums to 1, or with a null
    key in the readout to the sum of its row.
    """
    return roll_out(recorded.maps, encoded_weights(recorded))
