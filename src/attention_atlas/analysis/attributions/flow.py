"""Attention flow: the maximum flow from the prediction to each token."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.analysis.attributions.rollout import encoded_weights, mixing
from attention_atlas.errors import InputError

# The solver takes integers of 32 bits; capacities are at most 1.
UNITS = 2**30
# Layers x tokens^3 of one sample: 2 layers and 200 tokens, or 4 and 160, take about 4 s.
MAX_SIZE = 2**24


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

    Args:
        layers: Capacities from a token to the tokens of the layer below, first layer first.
        source: Capacities from the source to the tokens above the last layer.
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
            f"through {num_layers} layers: give inputs of at most {max_tokens} tokens, or take "
            "rollout."
        )
