"""How much the loss depends on each head."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from attention_atlas.attention import Attention
from attention_atlas.encoder import Classifier
from attention_atlas.encoder.tokens import Batch
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class HeadImportance:
    """How much the loss depends on each head.

    Attributes:
        layers: [L, H].
        readout: [R]; empty where the readout has no attention of its own.
        num_samples: Samples that it is the mean of.
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
        raise InputError("Head importance needs a sample at least: no batch was given.")
    mean = {name: (values / count).double().cpu().numpy() for name, values in total.items()}
    if normalise:
        mean = {name: values / (np.linalg.norm(values) or 1) for name, values in mean.items()}
    layers = [mean.pop(name) for name in model.attention_layers]
    readout = next(iter(mean.values()), np.zeros(0))
    return HeadImportance(np.stack(layers) if layers else np.zeros((0, 0)), readout, count)


def _of_batch(model: Classifier, batch: Batch) -> dict[str, Tensor]:
    """|O_h' dL/dO_h| of each sample, [B, H], by name of the attention module."""
    modules = {name: m for name, m in model.named_modules() if isinstance(m, Attention)}
    with torch.enable_grad(), _head_outputs(modules) as outputs:
        logits = model(batch)
        labels = batch["label"].to(logits.device)
        # The sum, so that the gradient of a sample does not depend on its batch.
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        names = list(outputs)
        inputs = [outputs[name] for name in names]
        gradients = torch.autograd.grad(loss, inputs) if inputs else ()
    found = {}
    for name, gradient in zip(names, gradients, strict=True):
        heads = modules[name].num_heads
        products = (outputs[name].detach() * gradient).sum(dim=1)
        found[name] = products.view(len(products), heads, -1).sum(-1).abs()
    return found


@contextmanager
def _head_outputs(modules: dict[str, Attention]) -> Iterator[dict[str, Tensor]]:
    """Give what enters the output projection of each module, [B, Q, H * E], in a forward pass."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...] | None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            merged = inputs[0]
            if not merged.requires_grad:  # every parameter is frozen
                merged = merged.detach().requires_grad_()
            outputs[name] = merged
            return (merged, *inputs[1:])

        return hook

    handles = [m.out_proj.register_forward_pre_hook(keep(name)) for name, m in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
