"""Attention times its gradient, where it leads to the prediction."""

from torch import Tensor

from attention_atlas.analysis.attributions.raw import pool_rows
from attention_atlas.analysis.attributions.recorded_pass import Recorded


def attention_gradient(recorded: Recorded) -> Tensor:
    """Attention x gradient (Serrano and Smith 2019, arXiv 1906.03731, section 4): [B, K].

    a_j = 1/H sum_h sum_i w_i A^h_ij dy/dA^h_ij, of the row of the readout or of the CLS token in
    the last layer; with a mean as readout, the mean over the valid queries of the last layer. y is
    the target logit. The sign is kept, as in the paper: a token that speaks against the class is
    negative. To first order it is what setting a weight to zero takes from the logit, so it also
    holds for the signed weights of differential attention; the null key, whose value is zero, has
    none.
    """
    name = recorded.leading_module
    return pool_rows(recorded.map(name) * recorded.gradient(name), recorded.leading_weights)
