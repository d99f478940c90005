"""Attributions of a batch by several methods, of one recorded pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attention_atlas.analysis.attributions.methods import find_method
from attention_atlas.analysis.attributions.recorded import record_pass
from attention_atlas.encoder import Classifier
from attention_atlas.encoder.tokens import Batch
from attention_atlas.errors import InputError


def why_not(method: str, model: Classifier) -> str | None:
    """Say why a method does not apply to the mechanism of a model; None where it does.

    Raises InputError if there is no such method.
    """
    reason = find_method(method).refuse(model)
    return None if reason is None else f"{method} does not apply here: {reason}."


def attribute(
    model: Classifier,
    batch: Batch,
    methods: Sequence[str],
    target: Tensor | None = None,
    *,
    reference: Batch | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """How much each token mattered for the prediction, by each method.

    The model runs once, forward and back, whatever the methods; integrated gradients run it again
    for each step. Its parameters, their gradients and its mode stay as they are; the parameters may
    be frozen, and gradients may be switched off around the call. The results of a batch are those
    of each sample alone.

    Args:
        model: In eval mode.
        batch: Prepared; with `sample_id` for the random baseline.
        methods: Keys of `METHODS`; `raw:LAYER` and `raw:LAYER.HEAD` name a layer or head of raw.
        target: [B] int64, the class explained; by default the one predicted.
        reference: The batch with every token removed, where integrated gradients start; by default
            they start at zeros in place of the embedded tokens.
        seed: Of the random baseline.

    Returns:
        By method, [B, K] for the K tokens of `model.token_layout(batch)`: float32, or float64 if
        the model computes in that; 0 at padding.

    Raises:
        InputError: A method does not exist or does not apply to the mechanism (`why_not`), the
            input is too long for it, or target or reference do not fit the batch.
    """
    if model.training:
        raise InputError("Attributions are of a model in eval mode: call model.eval() first.")
    chosen = [find_method(name) for name in dict.fromkeys(methods)]
    for method in chosen:
        reason = why_not(method.name, model)
        if reason is not None:
            raise InputError(reason)
    _check_target(target, model, len(batch["inputs"]))
    # Tensors made in inference mode cannot have gradients.
    with torch.inference_mode(False):
        recorded = record_pass(
            model,
            batch,
            target,
            reference,
            seed,
            with_gradients=any(method.needs_gradients for method in chosen),
        )
        return {
            method.name: method.explain(recorded).to(recorded.dtype).masked_fill(~recorded.valid, 0)
            for method in chosen
        }


def _check_target(target: Tensor | None, model: Classifier, size: int) -> None:
    if target is None:
        return
    if target.shape != (size,) or target.is_floating_point() or target.dtype == torch.bool:
        raise InputError(
            f"target has the shape {tuple(target.shape)} and the type {target.dtype}; it must be "
            f"one class for each of the {size} samples, int64 [{size}]."
        )
    classes = model.head.out_features
    if len(target) and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise InputError(
            f"target has a class beyond the {classes} of the model, 0 to {classes - 1}."
        )
