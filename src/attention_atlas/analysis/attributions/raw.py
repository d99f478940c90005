"""Attention weights as they are: the readout's row, and the maps of layers and heads."""

import torch
from torch import Tensor

from attention_atlas.analysis.attributions.recorded_pass import Recorded


def pool_rows(maps: Tensor, weights: Tensor) -> Tensor:
    """Pool the rows of maps [B, H, Q, K] by the weights [B, Q] of their queries: [B, K].

    a_j = 1/H sum_h sum_i w_i A^h_ij.
    """
    return torch.einsum("bq,bhqk->bk", weights.to(maps.dtype), maps) / maps.shape[1]


def readout(recorded: Recorded) -> Tensor:
    """The row that leads straight to the prediction, mean of heads: [B, K].

    a_j = 1/H sum_h A^h_j of the learned query of the readout (multi-head attention pooling, Lee et
    al. 2019, arXiv 1810.00825), or of the CLS token in the last layer (Devlin et al. 2019, arXiv
    1810.04805). With a null key it sums to less than 1: the rest went to no token. Of differential
    attention it may be negative.
    """
    return pool_rows(recorded.map(recorded.leading_module), recorded.leading_weights)


def raw(recorded: Recorded, layer: int = -1, head: int | None = None) -> Tensor:
    """The map of a layer, mean of heads or one head: [B, K].

    The row of the CLS token where that is the readout; else the mean over the valid queries, which
    is how much attention a token receives: a_j = 1/n sum_i A_ij. These are the weights that Jain
    and Wallace 2019 (arXiv 1902.10186) ask about. With a null key they sum to less than 1: the rest
    went to no token. Of differential attention they may be negative.
    """
    maps = recorded.map(recorded.model.attention_layers[layer])
    maps = maps if head is None else maps[:, head : head + 1]
    return pool_rows(maps, recorded.pooling)
