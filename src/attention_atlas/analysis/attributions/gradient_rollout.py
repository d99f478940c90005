"""Gradient-weighted rollout: the weights of all layers that are evidence for the class."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.encoder import AttentionReadout


def weighted(
    maps: Float[Tensor, "batch heads queries keys"],
    gradients: Float[Tensor, "batch heads queries keys"],
) -> Float[Tensor, "batch queries keys"]:
    """Return mean_h (dA * A)^+, equation 5."""
    return (gradients * maps).clamp(min=0).mean(dim=1)


def propagate(
    relevances: Sequence[Float[Tensor, "batch tokens tokens"]], start: Float[Tensor, "batch tokens"]
) -> Float[Tensor, "batch tokens"]:
    """Propagate `start`, weights of the encoded tokens, back to the input.

    s R_L for R_0 = I and R_l = R_(l-1) + W_l R_(l-1), equation 6, with the `weighted` W of the
    layers 1 to L. It equals s (I + W_L) ... (I + W_1), so only a row is stored.
    """
    relevance = start
    for layer in reversed(relevances):
        relevance = relevance + torch.einsum("bq,bqk->bk", relevance.to(layer.dtype), layer)
    return relevance


def gradient_rollout(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return gradient-weighted rollout (Chefer, Gur and Wolf 2021, ICCV, arXiv 2103.15679).

    W = mean_h (dA * A)^+ and R = R + W R, layer by layer from the identity, where dA is the
    gradient of the target logit. The result is

    - with a learned query as readout: w R, where w is the W of its own row (equation 6 for a query
      that is not one of the tokens; the paper's scaling of cross-attention, equations 8 to 10, is
      left out, as there is one row only);
    - with a CLS token: its row of R - I, as in the paper's code;
    - with a mean: the mean of the rows of R - I of the valid tokens. The identity would add the
      same 1/n to each.

    The null key contributes nothing: its value is zero, and so is its gradient.
    """
    layers = [weighted(*pair) for pair in zip(recorded.maps, recorded.gradients, strict=True)]
    if not isinstance(recorded.model.readout, AttentionReadout):
        return propagate(layers, recorded.pooling) - recorded.pooling
    name = recorded.leading_module
    start = weighted(recorded.map(name), recorded.gradient(name))[:, 0]
    return propagate(layers, start)
