"""Norms of the weighted, transformed values: the vectors that attention adds to a token."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.attention import Attention
from attention_atlas.attention.kernels import repeat_heads


def norms(
    maps: Float[Tensor, "batch heads queries keys"],
    values: Float[Tensor, "batch heads keys width"],
    output: Float[Tensor, "embed_dim heads*width"],
    weights: Float[Tensor, "batch queries"],
    gates: Float[Tensor, "batch queries heads gates"] | None = None,
) -> Float[Tensor, "batch keys"]:
    """Return the norm of the vector that each token sends to a query, summed over the queries.

    `values` include their bias; `output` is the weight of the output projection, as in `nn.Linear`;
    `weights` are those of the queries in the sum. `gates` are factors of the outputs of the heads,
    one for a head or one for each value.
    """
    pooled = torch.zeros_like(maps[:, 0, 0])
    # One query at a time, because each has K vectors of width D.
    for query in weights.any(dim=0).nonzero().flatten().tolist():
        sent = maps[:, :, query, :, None] * values
        if gates is not None:
            sent = sent * gates[:, query, :, None]
        sent = sent.transpose(1, 2).flatten(2) @ output.T
        pooled += weights[:, query, None] * sent.norm(dim=-1)
    return pooled


def value_norms(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return norms of weighted values (Kobayashi et al. 2020, arXiv 2004.10102, equations 2 to 4).

    a_j = sum_i w_i || sum_h A^h_ij f^h(x_j) || with f^h(x) = (x W_V^h + b_V^h) W_O^h, of the row of
    the readout or of the CLS token in the last layer; with a mean as readout, the mean over the
    valid queries of the last layer. A gate multiplies the output of a head, and is part of f. The
    null key sends nothing, as its value is zero.
    """
    name = recorded.leading_module
    maps = recorded.map(name)
    with torch.no_grad():
        values, output, gates = _parts(recorded, name)
        return norms(
            maps,
            values.to(maps.dtype),
            output.to(maps.dtype),
            recorded.leading_weights.to(maps.dtype),
            None if gates is None else gates.to(maps.dtype),
        )


def _parts(recorded: Recorded, name: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the values [B, H, K, E], the output projection [D, D] and the gates of a module."""
    module = recorded.model.get_submodule(name)
    if not isinstance(module, Attention):
        values = repeat_heads(recorded.values[name], recorded.map(name).shape[1])
        return values, recorded.model.output_projection(name), None
    query_tokens, value_tokens = recorded.attended[name]
    values, gates = _values(module, value_tokens), _gates(module, query_tokens)
    return values, recorded.model.output_projection(name), gates


def _values(module: Attention, tokens: Tensor) -> Tensor:
    """Return x W_V + b_V of each head, [B, H, K, E]; heads that share values repeat them."""
    weight, bias = module.in_proj_weight[-module.kv_width :], module.in_proj_bias
    values = F.linear(tokens, weight, None if bias is None else bias[-module.kv_width :])
    values = values.view(*values.shape[:2], module.num_kv_heads, module.head_width)
    return repeat_heads(values.transpose(1, 2), module.num_heads)


def _gates(module: Attention, tokens: Tensor) -> Tensor | None:
    """Return the factors of the outputs of the heads, [B, Q, H, E or 1]."""
    if module.gate_proj is None:
        return None
    gates: Tensor = module.gate_proj(tokens).sigmoid()
    return gates.view(*gates.shape[:2], module.num_heads, -1)
