"""Importance of heads: how much the loss depends on each."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from attention_atlas.attention import Attention
from attention_atlas.attention.observers import Pass, WeightsPass
from attention_atlas.attention.selection import attention_modules
from attention_atlas.attention.watching import watch
from attention_atlas.encoder import Classifier
from attention_atlas.encoder.tokens import Batch
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class HeadImportance:
    """Dependence of the loss on each head, mean of `num_samples`: [L, H], and [R] of the readout.

    The latter is empty where the readout has no attention of its own.
    """

    layers: npt.NDArray[np.float64]
    readout: npt.NDArray[np.float64]
    num_samples: int


def head_importance(
    model: Classifier,
    batches: Iterable[Batch],
    *,
    normalise: bool = False,
    progress: Callable[[int], None] | None = None,
) -> HeadImportance:
    """Return I_h = E_x |O_h' dL/dO_h| of each head (Michel et al. 2019, arXiv 1905.10650, eq. 2).

    O_h [Q, E] is the output of head h for the sample x and L the cross-entropy of its label. It is
    |dL/dxi| for a factor xi = 1 before the output of the head: how the loss would change, to first
    order, if the head were taken away. Where the head is O = A V it equals |sum_ij A_ij dL/dA_ij|
    with the gradients by a recorded map, but this needs no Q x K tensor. The output is taken where
    it enters the output projection: after the gate, and after the norm of differential attention,
    which would undo the factor.

    Args:
        model: In eval mode; its parameters and their gradients stay as they are.
        batches: Prepared ones, with a `label` [B].
        normalise: Divide each layer by its Euclidean norm, as the paper does before it ranks heads
            across layers.
        progress: Called with the number of samples done.

    Raises:
        InputError: If there is no batch, or the model is in training mode.
    """
    if model.training:
        raise InputError("Head importance needs the model in eval mode: call model.eval() first.")
    total: dict[str, Tensor] = {}
    count = 0
    for batch in batches:
        for name, importance in _of_batch(model, batch).items():
            total[name] = total.get(name, 0) + importance.sum(0)
        count += len(batch["label"])
        if progress is not None:
            progress(count)
    if not count:
        raise InputError("Head importance needs at least one sample: there is no batch.")
    mean = {name: (values / count).double().cpu().numpy() for name, values in total.items()}
    if normalise:
        mean = {name: values / (np.linalg.norm(values) or 1) for name, values in mean.items()}
    if missing := [name for name in model.attention_layers if name not in mean]:
        raise InputError(
            f"The importance of the heads of {missing[0]} cannot be measured: the model returns "
            "its weights, but not what each head puts out."
        )
    layers = [mean.pop(name) for name in model.attention_layers]
    readout = next(iter(mean.values()), np.zeros(0))
    return HeadImportance(np.stack(layers) if layers else np.zeros((0, 0)), readout, count)


def _of_batch(model: Classifier, batch: Batch) -> dict[str, Tensor]:
    """Return |O_h' dL/dO_h| of each sample, [B, H], by name of the attention module."""
    with torch.enable_grad(), _head_outputs(model) as outputs:
        tokens = model.embedding(batch)
        # Parameters may be frozen, so the gradient is led through the tokens.
        logits = model.classify(replace(tokens, values=tokens.values.detach().requires_grad_()))
        labels = batch["label"].to(logits.device)
        # The sum, so that the gradient of a sample does not depend on its batch.
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        names = list(outputs)
        inputs = [outputs[name] for name in names]
        gradients = torch.autograd.grad(loss, inputs) if inputs else ()
    found = {}
    for name, gradient in zip(names, gradients, strict=True):
        products = outputs[name].detach() * gradient
        found[name] = products.sum(dim=(2, 3)).abs()
    return found


@contextmanager
def _head_outputs(model: Classifier) -> Iterator[dict[str, Tensor]]:
    """Collect the output of each head, [B, H, Q, E], by module, in a forward pass.

    For an `Attention`, the input of its output projection; a pretrained model has neither gate nor
    norm between the two.
    """
    outputs: dict[str, Tensor] = {}
    modules = attention_modules(model)

    def store(name: str, seen: Pass | WeightsPass) -> None:
        if seen.output is not None and not isinstance(modules.get(name), Attention):
            outputs[name] = seen.output

    with ExitStack() as stack:
        for name, module in modules.items():
            if isinstance(module, Attention):
                hook = partial(_store_input, outputs, name, module.num_heads)
                stack.callback(module.out_proj.register_forward_pre_hook(hook).remove)
        if not all(isinstance(module, Attention) for module in modules.values()):
            stack.enter_context(watch(model, store))
        yield outputs


def _store_input(
    outputs: dict[str, Tensor],
    name: str,
    num_heads: int,
    projection: nn.Module,
    inputs: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    """Cut what enters an output projection into heads."""
    outputs[name] = inputs[0].view(*inputs[0].shape[:2], num_heads, -1).transpose(1, 2)
    return (outputs[name].transpose(1, 2).flatten(2), *inputs[1:])
