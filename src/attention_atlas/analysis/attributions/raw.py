"""Attention weights as they are, of the readout, layers and heads, and times their gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from attention_atlas.analysis.attributions.recorded_pass import Recorded


def pool_rows(
    maps: Float[Tensor, "batch heads queries keys"], weights: Float[Tensor, "batch queries"]
) -> Float[Tensor, "batch keys"]:
    """Return the mean of the heads of maps, with their rows summed by the weights of the queries.

    a_j = 1/H sum_h sum_i w_i A^h_ij.
    """
    return torch.einsum("bq,bhqk->bk", weights.to(maps.dtype), maps) / maps.shape[1]


def readout(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return the row of the map that the prediction reads, mean of heads.

    a_j = 1/H sum_h A^h_j of the learned query of the readout (multi-head attention pooling, Lee et
    al. 2019, arXiv 1810.00825), or of the CLS token in the last layer (Devlin et al. 2019, arXiv
    1810.04805). With a null key it sums to less than 1. With differential attention it may be
    negative.
    """
    return pool_rows(recorded.map(recorded.leading_module), recorded.leading_weights)


def raw(
    recorded: Recorded, layer: int = -1, head: int | None = None
) -> Float[Tensor, "batch tokens"]:
    """Return the map of a layer, mean of heads or one head, pooled over the queries.

    It is the row of the CLS token if that is the readout; else the mean over the valid queries, the
    attention that a token receives: a_j = 1/n sum_i A_ij. These are the weights studied by Jain and
    Wallace 2019 (arXiv 1902.10186). With a null key they sum to less than 1. With differential
    attention they may be negative.
    """
    maps = recorded.map(recorded.model.attention_layers[layer])
    maps = maps if head is None else maps[:, head : head + 1]
    return pool_rows(maps, recorded.pooling)


def attention_gradient(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return attention x gradient (Serrano and Smith 2019, arXiv 1906.03731, section 4).

    a_j = 1/H sum_h sum_i w_i A^h_ij dy/dA^h_ij, of the row of the readout or of the CLS token in
    the last layer; with a mean as readout, the mean over the valid queries of the last layer. y is
    the target logit. As in the paper it is signed: a token that is evidence against the class is
    negative. To first order it is the decrease of the logit when a weight is set to zero, so it
    also holds for the signed weights of differential attention. The null key, whose value is zero,
    contributes nothing.
    """
    name = recorded.leading_module
    return pool_rows(recorded.map(name) * recorded.gradient(name), recorded.leading_weights)
