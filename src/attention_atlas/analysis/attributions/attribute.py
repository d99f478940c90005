"""Attributions of a batch by several methods, from one recorded pass."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attention_atlas.analysis.attributions.methods import Method, find_method
from attention_atlas.analysis.attributions.recorded_pass import record_pass
from attention_atlas.analysis.attributions.target import EmbeddedBatch, embed_batch
from attention_atlas.encoder import Classifier
from attention_atlas.encoder.tokens import Batch
from attention_atlas.errors import InputError

# Numbers in the maps of the samples that are recorded together: 128 MiB in float32.
MAX_RECORDING = 2**25


def why_not(method: str, model: Classifier) -> str | None:
    """Return why a method does not apply to the mechanism of a model; None if it does.

    Raises InputError if there is no such method.
    """
    reason = find_method(method).refuse(model)
    return None if reason is None else f"{method} does not apply here: {reason}."


def attribute(
    model: Classifier,
    batch: Batch,
    methods: Sequence[str],
    target: Int[Tensor, " batch"] | None = None,
    *,
    reference: Batch | None = None,
    seed: int = 0,
) -> dict[str, Float[Tensor, "batch tokens"]]:
    """Compute how much each token mattered for the prediction, by each method.

    All methods share one pass, forward and backward, through fused kernels; input x gradient runs
    the model once more, and integrated gradients once for each step. Parameters, their gradients
    and the mode of the model do not change; parameters may be frozen, and gradients disabled around
    the call. The result of a sample does not depend on its batch.

    Args:
        model: In eval mode.
        batch: Prepared; with `sample_id` for the random baseline.
        methods: Keys of `METHODS`; `raw:LAYER` and `raw:LAYER.HEAD` name a layer or head of raw.
        target: The class explained, int64; by default the one predicted.
        reference: The batch with every token removed, where integrated gradients start; by default
            they start at zeros in place of the embedded tokens.
        seed: Seed of the random baseline.

    Returns:
        By method, [B, K] for the K tokens of `model.token_layout(batch)`: float32, or float64 if
        the model computes in that; 0 at padding.

    Raises:
        InputError: A method does not exist or does not apply to the mechanism (`why_not`), an
            input is too long for it, or target, reference or ids do not match the batch.
    """
    if model.training:
        raise InputError("Attributions are of a model in eval mode: call model.eval() first.")
    chosen = [find_method(name) for name in dict.fromkeys(methods)]
    for method in chosen:
        reason = why_not(method.name, model)
        if reason is not None:
            raise InputError(reason)
    # Outside of inference mode, whose tensors can have no gradients.
    with torch.inference_mode(False):
        embedded = embed_batch(model, batch, target, reference, seed)
        parts = [_explain(model, part, chosen) for part in _parts(model, embedded)]
    return {method.name: torch.cat([part[method.name] for part in parts]) for method in chosen}


def _explain(model: Classifier, batch: EmbeddedBatch, methods: list[Method]) -> dict[str, Tensor]:
    with_gradients = any(method.needs_gradients for method in methods)
    recorded = record_pass(model, batch, with_gradients)
    found = {method.name: method.explain(recorded).to(recorded.dtype) for method in methods}
    return {name: values.masked_fill(~batch.valid, 0) for name, values in found.items()}


def _parts(model: Classifier, batch: EmbeddedBatch) -> Iterator[EmbeddedBatch]:
    """Yield as many samples at a time as have maps that fit into memory."""
    size, num_tokens = batch.valid.shape
    heads = sum(model.layer_heads)
    step = max(1, MAX_RECORDING // max(1, heads * num_tokens**2))
    for start in range(0, max(size, 1), step):
        yield batch.part(slice(start, start + step))
