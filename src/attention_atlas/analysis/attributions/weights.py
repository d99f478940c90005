"""Attention weights as they are, times their gradient, and times the norms of their values."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.attention import Attention
from attention_atlas.attention.kernels import repeat_heads


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
