"""Small models, and the same models with every attention weight in sight."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_atlas.encoder import (
    AttentionReadout,
    Classifier,
    ClsReadout,
    Embedding,
    SpectrogramEmbedding,
    TextEmbedding,
    Tokens,
    TransformerEncoder,
    make_readout,
)
from tests.attention.explicit import explicit

D, H, C = 32, 4, 3


def build(
    readout: str = "attention", depth: int = 2, grid: bool = False, **attention: Any
) -> Classifier:
    """A model in float64 in eval mode whose numbers are all different.

    On text of up to 7 tokens, or on spectrograms of 2 x 5 patches (rows x columns).
    """
    torch.manual_seed(0)
    embedding: Embedding = TextEmbedding(40, D, max_length=9)
    if grid:
        edges = [100.0 * edge for edge in range(9)]
        embedding = SpectrogramEmbedding(8, 20, D, 0.01, edges, patch_mels=4, stem="linear")
    encoder = TransformerEncoder(D, H, depth, mlp_ratio=1.0, attention=attention)
    model = Classifier(embedding, encoder, make_readout(readout, D, H, attention), D, C).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    return model.eval()


def text() -> dict[str, Any]:
    """Three texts of 4, 7 and 1 tokens."""
    inputs = torch.zeros(3, 7, dtype=torch.long)
    inputs[0, :4] = torch.tensor([5, 6, 7, 8])
    inputs[1] = torch.tensor([9, 10, 11, 12, 13, 14, 5])
    inputs[2, 0] = 20
    spans = torch.stack([torch.arange(7), torch.arange(1, 8)], dim=-1).expand(3, -1, -1)
    lengths = torch.tensor([4, 7, 1])
    return {"inputs": inputs, "lengths": lengths, "spans": spans, "sample_id": ["a", "b", "c"]}


def sound() -> dict[str, Any]:
    """Two spectrograms of 20 and 10 frames: of 2 x 5 patches the second has 2 x 3."""
    torch.manual_seed(1)
    inputs = torch.randn(2, 8, 20, dtype=torch.float64)
    return {"inputs": inputs, "lengths": torch.tensor([20, 10]), "sample_id": ["a", "b"]}


def one(batch: dict[str, Any], sample: int) -> dict[str, Any]:
    """A sample of a batch by itself."""
    return {name: values[sample : sample + 1] for name, values in batch.items()}


def removed(batch: dict[str, Any]) -> dict[str, Any]:
    """The same with another input in every place."""
    inputs = batch["inputs"]
    other = torch.where(inputs > 0, 3, 0) if inputs.dtype == torch.long else 0 * inputs + 0.1
    return {**batch, "inputs": other}


@dataclass
class Eager:
    """What the model does, by maps that are in the graph of the logits.

    maps [B, H, K, K] of the layers; gradients by them, of the target logits; the same of the
    readout [B, H, 1, K], None where it does not attend; `attended` holds what goes into each.
    """

    logits: Tensor
    maps: list[Tensor]
    gradients: list[Tensor]
    readout: Tensor | None
    readout_gradient: Tensor | None
    attended: list[tuple[Tensor, Tensor]]
    valid: Tensor


def eager(model: Classifier, batch: dict[str, Any]) -> Eager:
    tokens: Tokens = model.readout.extend(model.embedding(batch))
    x, padding = tokens.values, tokens.key_padding_mask
    bias = torch.zeros(len(x), 1, 1, x.shape[1], dtype=x.dtype)
    if padding is not None:
        bias = bias.masked_fill(padding[:, None, None], -torch.inf)
    maps, attended = [], []
    for block in model.encoder.layers:
        normal = block.attention_norm(x)
        full = bias.expand(-1, H, x.shape[1], -1)
        made = explicit(block.attention, normal, bias=full, grid=tokens.grid)
        maps.append(made.map)
        attended.append((normal, normal))
        x = x + made.output
        x = x + block.mlp(block.mlp_norm(x))
    x = model.encoder.norm(x)
    valid = ~padding if padding is not None else torch.ones(x.shape[:2], dtype=torch.bool)
    readout = None
    if isinstance(model.readout, AttentionReadout):
        query = model.readout.query.expand(len(x), -1, -1)
        made = explicit(model.readout.attention, query, x, x, bias=bias.expand(-1, H, -1, -1))
        readout, pooled = made.map, made.output[:, 0]
        attended.append((query, x))
    elif isinstance(model.readout, ClsReadout):
        pooled = x[:, 0]
    else:
        pooled = torch.stack([row[shown].mean(0) for row, shown in zip(x, valid, strict=True)])
    logits = model.head(pooled)
    asked = [*maps, *([] if readout is None else [readout])]
    gradients = list(torch.autograd.grad(logits.amax(1).sum(), asked)) if asked else []
    return Eager(
        logits,
        [map_.detach() for map_ in maps],
        gradients[: len(maps)],
        None if readout is None else readout.detach(),
        None if readout is None else gradients[-1],
        attended,
        valid,
    )
