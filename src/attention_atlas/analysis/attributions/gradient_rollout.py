"""Gradient-weighted rollout: the weights of all layers that speak for the class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.encoder import AttentionReadout


def weighted(maps: Tensor, gradients: Tensor) -> Tensor:
    """Maps and their gradients [B, H, Q, K] to [B, Q, K]: mean_h (dA * A)^+, equation 5."""
    return (gradients * maps).clamp(min=0).mean(dim=1)


def follow(relevances: Sequence[Tensor], start: Tensor) -> Tensor:
    """Follow `start` [B, K], weights of the encoded tokens, back to the input: [B, K].

    s R_L for R_0 = I and R_l = R_(l-1) + W_l R_(l-1), equation 6, with the `weighted` W
    [B, K, K] of the layers 1 to L. That is s (I + W_L) ... (I + W_1), so a row is all that is kept.
    """
    relevance = start
    for layer in reversed(relevances):
        relevance = relevance + torch.einsum("bq,bqk->bk", relevance.to(layer.dtype), layer)
    return relevance


def gradient_rollout(recorded: Recorded) -> Tensor:
    """Gradient-weighted rollout (Chefer, Gur and Wolf 2021, ICCV, arXiv 2103.15679): [B, K].

    W = mean_h (dA * A)^+ and R = R + W R, layer by layer from the identity, where dA is the
    gradient of the target logit. Of R the result is

    - with a learned query that reads out: w R, where w is the W of its own row (equation 6 for a
      query that is none of the tokens; the paper's scaling of cross-attention, equations 8 to 10,
      is left out, as there is one row only);
    - with a CLS token: its row of R - I, as in the paper's code;
    - with a mean: the mean of the rows of R - I of the valid tokens. The identity would add the
      same 1/n to each.

    With a null key nothing is missing: its value is zero, so its gradient is.
    """
    layers = [weighted(*pair) for pair in zip(recorded.maps, recorded.gradients, strict=True)]
    if not isinstance(recorded.model.readout, AttentionReadout):
        return follow(layers, recorded.pooling) - recorded.pooling
    name = recorded.leading_module
    start = weighted(recorded.map(name), recorded.gradient(name))[:, 0]
    return follow(layers, start)
