"""Paths through the weights of all layers: rollout, gradient-weighted rollout, and flow."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.analysis.attributions.weights import pool_rows
from attention_atlas.encoder import AttentionReadout
from attention_atlas.errors import InputError, counted

# The solver takes integers of 32 bits; capacities are at most 1.
UNITS = 2**30
# Layers x tokens^3 of one sample: 2 layers and 200 tokens, or 4 and 160, take about 4 s.
MAX_SIZE = 2**24


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


def flow(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return attention flow (Abnar and Zuidema 2020, arXiv 2005.00928).

    Edges lead from each token to the tokens of the layer below, with the capacities 0.5 A + 0.5 I
    of rollout, and from the prediction to the encoded tokens, with the readout's row, 1 for the CLS
    token or 1/n for each valid token. The flow of a token is the maximum flow from the prediction
    to that token alone, so flows do not sum to 1.

    Capacities are rounded to 2^-30. A maximum flow is the capacity of a cut, so it is wrong by at
    most 2^-31 per edge of that cut: by less than 1e-6 for 45 tokens, and in practice by 1e-8.

    Raises InputError for inputs so long that it would take more than seconds.
    """
    layers = [mixing(maps).cpu() for maps in recorded.maps]
    start, valid = encoded_weights(recorded).cpu(), recorded.valid.cpu()
    _check_size(len(layers), int(valid.sum(dim=1).max()) if len(valid) else 0)
    flows = torch.zeros_like(start)
    for sample, shown in enumerate(valid):
        graph = [layer[sample][shown][:, shown].double().numpy() for layer in layers]
        source = start[sample, shown].double().numpy()
        flows[sample, shown] = torch.from_numpy(maximum_flows(graph, source)).to(flows.dtype)
    return flows.to(recorded.valid.device)


def maximum_flows(
    layers: Sequence[Float[np.ndarray, "tokens tokens"]], source: Float[np.ndarray, " tokens"]
) -> Float[np.ndarray, " tokens"]:
    """Return the maximum flow from the source to each token of the input alone.

    `layers` are capacities from a token to the tokens of the layer below, first layer first;
    `source` those from the source to the tokens above the last layer.
    """
    size = len(source)
    node = size * (len(layers) + 1)  # the source; token j above layer l is node l * K + j
    start, end = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    tails = [(level + 1) * size + start.ravel() for level in range(len(layers))]
    heads = [level * size + end.ravel() for level in range(len(layers))]
    tails.append(np.full(size, node))
    heads.append(len(layers) * size + np.arange(size))
    weights = np.concatenate([*(layer.ravel() for layer in layers), source])
    capacities = np.rint(weights * UNITS).astype(np.int32)
    graph = csr_array(
        (capacities, (np.concatenate(tails), np.concatenate(heads))), shape=(node + 1, node + 1)
    )
    return np.array([maximum_flow(graph, node, token).flow_value for token in range(size)]) / UNITS


def _check_size(num_layers: int, num_tokens: int) -> None:
    max_tokens = int(math.cbrt(MAX_SIZE / max(num_layers, 1)) + 1e-9)
    if num_tokens > max_tokens:
        raise InputError(
            f"flow solves a problem for each token, which takes too long for {num_tokens} tokens "
            f"through {counted(num_layers, 'layer')}: give inputs of at most {max_tokens} tokens, "
            "or take rollout."
        )
