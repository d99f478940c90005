"""One pass of a model, with all that the methods make attributions of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from attention_atlas.attention import Attention, Recording, record
from attention_atlas.encoder import AttentionReadout, Classifier, ClsReadout, Tokens
from attention_atlas.encoder.tokens import Batch


@dataclass(frozen=True)
class Recorded:
    """What a model did with a batch, and what was asked about it.

    Maps and gradients are computed when they are looked at; gradients are of the sum of the target
    logits, which is the gradient of each sample's own logit, because samples do not mix.

    Attributes:
        model: In eval mode.
        tokens: What the embedding gave, values [B, K, D] without a CLS token.
        valid: [B, K], True where a token of the layout is not padding.
        target: [B], the class explained.
        recording: Of all attention modules; None where the model has none.
        attended: By module, the tokens that it projected to queries [B, Q, D] and values [B, K, D].
        sample_ids: Of the batch; None where it has none.
        reference: The tokens [B, K, D] of the batch with every token removed; None if not given.
        seed: Of the random baseline.
    """

    model: Classifier
    tokens: Tokens
    valid: Tensor
    target: Tensor
    recording: Recording | None
    attended: dict[str, tuple[Tensor, Tensor]]
    sample_ids: list[str] | None
    reference: Tensor | None
    seed: int

    def map(self, name: str) -> Tensor:
        """The map of a module, [B, H, Q, K]."""
        assert self.recording is not None
        return self.recording.maps[name]

    def gradient(self, name: str) -> Tensor:
        """The gradient of the target logits by the map of a module, [B, H, Q, K]."""
        assert self.recording is not None
        return self.recording.gradients[name]

    @property
    def maps(self) -> list[Tensor]:
        """The maps [B, H, K, K] of the encoder, first layer first."""
        return [self.map(name) for name in self.model.attention_layers]

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients by `maps`, first layer first."""
        return [self.gradient(name) for name in self.model.attention_layers]

    @cached_property
    def pooling(self) -> Tensor:
        """How the readout weighs the encoded tokens, [B, K], where it does not attend.

        All on the CLS token, or the same on each valid token.
        """
        if isinstance(self.model.readout, ClsReadout):
            first = torch.zeros_like(self.valid, dtype=self.dtype)
            first[:, 0] = 1
            return first
        return mean_weights(self.valid).to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Float32, or float64 if the model computes in that."""
        return torch.promote_types(self.tokens.values.dtype, torch.float32)

    @property
    def leading_module(self) -> str:
        """The module whose map leads to the prediction: of the readout, or of the last layer."""
        return leading_module(self.model)

    @property
    def leading_weights(self) -> Tensor:
        """How much the prediction looks at each query of the leading module, [B, Q]."""
        if isinstance(self.model.readout, AttentionReadout):
            return torch.ones_like(self.pooling[:, :1])
        return self.pooling


def leading_module(model: Classifier) -> str:
    """The module whose map leads to the prediction: of the readout, or of the last layer."""
    if isinstance(model.readout, AttentionReadout):
        return "readout.attention"
    return model.attention_layers[-1]


def attention_modules(model: Classifier) -> dict[str, Attention]:
    """Every attention module by its name: the layers in order, then that of the readout."""
    names = list(model.attention_layers)
    if isinstance(model.readout, AttentionReadout):
        names.append("readout.attention")
    modules = {}
    for name in names:
        module = model.get_submodule(name)
        assert isinstance(module, Attention)
        modules[name] = module
    return modules


def mean_weights(valid: Tensor) -> Tensor:
    """The same share for each valid token, [B, K]; zeros where a sample has none."""
    return valid / valid.sum(dim=1, keepdim=True).clamp(min=1)


def record_pass(
    model: Classifier,
    batch: Batch,
    target: Tensor | None,
    reference: Batch | None,
    seed: int,
    with_gradients: bool,
) -> Recorded:
    """Run a model once, forward and back, and keep what the methods need.

    The gradients are taken by the tokens alone: those of the parameters are neither needed nor
    touched, and parameters may be frozen.
    """
    with torch.no_grad():
        tokens = model.embedding(batch)
        baseline = None if reference is None else model.embedding(reference).values.detach()
    values = tokens.values.detach().clone().requires_grad_(with_gradients)
    tokens = Tokens(values, tokens.key_padding_mask, tokens.grid)
    valid = model.token_layout(batch).valid.to(values.device)
    recording, attended, logits = _run(model, tokens, with_gradients)
    chosen = logits.detach().argmax(dim=1) if target is None else target.to(values.device)
    if with_gradients:
        scalar = logits.gather(1, chosen[:, None]).sum()
        # Gradients by the maps come by the way, through hooks.
        torch.autograd.grad(scalar, values, allow_unused=True)
    return Recorded(
        model,
        Tokens(values.detach(), tokens.key_padding_mask, tokens.grid),
        valid,
        chosen,
        recording,
        attended,
        batch.get("sample_id"),
        baseline,
        seed,
    )


def _run(
    model: Classifier, tokens: Tokens, with_gradients: bool
) -> tuple[Recording | None, dict[str, tuple[Tensor, Tensor]], Tensor]:
    """Classify under `record`, and keep what goes into each attention module."""
    modules = attention_modules(model)
    attended: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.set_grad_enabled(with_gradients):
        if not modules:
            return None, attended, model.classify(tokens)
        hooks = [
            module.register_forward_pre_hook(_keep(attended, name))
            for name, module in modules.items()
        ]
        try:
            with record(model, layers=list(modules), gradients=with_gradients) as recording:
                logits = model.classify(tokens)
        finally:
            for hook in hooks:
                hook.remove()
    return recording, attended, logits


def _keep(attended: dict[str, tuple[Tensor, Tensor]], name: str) -> Callable[..., None]:
    """A hook that keeps what a module projects to queries and to values."""

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        attended[name] = inputs[0].detach(), inputs[-1].detach()

    return hook
