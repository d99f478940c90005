"""One recorded pass of a model, from which all methods compute their attributions."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attention_atlas.analysis.attributions.target import EmbeddedBatch
from attention_atlas.attention import Attention, Recording, record
from attention_atlas.attention.observers import Pass, WeightsPass
from attention_atlas.attention.selection import attention_modules
from attention_atlas.attention.watching import watch
from attention_atlas.encoder import AttentionReadout, Classifier, FirstReadout, Tokens


@dataclass(frozen=True)
class Recorded:
    """A forward pass of a model, and its backward pass if gradients were needed.

    Maps and gradients are computed on access; gradients are of the sum of the target logits, which
    equals the gradient of each sample's own logit, because samples do not mix.

    Attributes:
        model: In eval mode.
        batch: The embedded batch.
        target: The class explained.
        recording: Recording of all attention modules; None if the model has none.
        attended: By `Attention`, the tokens that it projected to queries [B, Q, D] and values
            [B, K, D].
        values: By module of a pretrained encoder, the values [B, num_kv_heads, K, E] of its heads.
    """

    model: Classifier
    batch: EmbeddedBatch
    target: Int[Tensor, " batch"]
    recording: Recording | None
    attended: dict[str, tuple[Tensor, Tensor]]
    values: dict[str, Tensor]

    @property
    def valid(self) -> Bool[Tensor, "batch tokens"]:
        """True where a token of the layout is not padding."""
        return self.batch.valid

    @property
    def maps(self) -> list[Float[Tensor, "batch heads tokens tokens"]]:
        """The maps of the encoder, first layer first."""
        return [self.map(name) for name in self.model.attention_layers]

    @property
    def gradients(self) -> list[Float[Tensor, "batch heads tokens tokens"]]:
        """The gradients by `maps`, first layer first."""
        return [self.gradient(name) for name in self.model.attention_layers]

    def map(self, name: str) -> Float[Tensor, "batch heads queries keys"]:
        """Return the map of a module."""
        assert self.recording is not None
        return self.recording.maps[name]

    def gradient(self, name: str) -> Float[Tensor, "batch heads queries keys"]:
        """Return the gradient of the target logits by the map of a module."""
        assert self.recording is not None
        return self.recording.gradients[name]

    @cached_property
    def pooling(self) -> Float[Tensor, "batch tokens"]:
        """How a readout that does not attend weights the encoded tokens.

        All on the CLS token, else the same on each valid token.
        """
        if isinstance(self.model.readout, FirstReadout):
            first = torch.zeros_like(self.valid, dtype=self.dtype)
            first[:, 0] = 1
            return first
        return mean_weights(self.valid).to(self.dtype)

    @property
    def leading_module(self) -> str:
        """The module whose map leads to the prediction: of the readout, else of the last layer."""
        if isinstance(self.model.readout, AttentionReadout):
            return "readout.attention"
        return self.model.attention_layers[-1]

    @property
    def leading_weights(self) -> Float[Tensor, "batch queries"]:
        """How the prediction weights the queries of the leading module."""
        if isinstance(self.model.readout, AttentionReadout):
            return torch.ones_like(self.pooling[:, :1])
        return self.pooling

    @property
    def dtype(self) -> torch.dtype:
        """Float32, or float64 if the model computes in that."""
        return torch.promote_types(self.batch.tokens.values.dtype, torch.float32)


def mean_weights(shown: Bool[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens"]:
    """Return the same weight for each token shown, summing to 1 in a sample; zeros without one."""
    return shown / shown.sum(dim=1, keepdim=True).clamp(min=1)


def record_pass(model: Classifier, batch: EmbeddedBatch, with_gradients: bool) -> Recorded:
    """Run a model once, forward and, for gradients by the maps, backward.

    The gradient is taken by the tokens alone: parameters may be frozen, and their `.grad` does not
    change.
    """
    tokens = batch.tokens
    values = tokens.values.detach().clone().requires_grad_(with_gradients)
    with torch.set_grad_enabled(with_gradients):
        tokens = Tokens(values, tokens.key_padding_mask, tokens.grid)
        recording, inputs, logits = _classify(model, tokens, with_gradients)
    target = logits.argmax(dim=1) if batch.target is None else batch.target
    if with_gradients:
        # Hooks store the gradients by the maps on the way.
        torch.autograd.grad(logits.gather(1, target[:, None]).sum(), values)
    return Recorded(model, batch, target, recording, inputs.attended, inputs.values)


class _Inputs:
    """Inputs of attention modules, saved while a model runs."""

    def __init__(self) -> None:
        self.attended: dict[str, tuple[Tensor, Tensor]] = {}
        self.values: dict[str, Tensor] = {}

    @contextmanager
    def saved(self, model: nn.Module) -> Iterator[None]:
        """Save the tokens passed to each `Attention`, and the values of other modules."""
        with ExitStack() as stack:
            modules = attention_modules(model)
            for name, module in modules.items():
                if isinstance(module, Attention):
                    hook = module.register_forward_pre_hook(partial(self._save_tokens, name))
                    stack.callback(hook.remove)
            if not all(isinstance(module, Attention) for module in modules.values()):
                stack.enter_context(watch(model, self._save_values))
            yield

    def _save_tokens(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Save the first argument, the query's tokens, and the last, the value's."""
        self.attended[name] = inputs[0].detach(), inputs[-1].detach()

    def _save_values(self, name: str, seen: Pass | WeightsPass) -> None:
        if seen.value is not None:
            self.values[name] = seen.value.detach()


def _classify(
    model: Classifier, tokens: Tokens, with_gradients: bool
) -> tuple[Recording | None, _Inputs, Tensor]:
    """Return the recording, the inputs of each attention module, and the logits [B, C]."""
    inputs = _Inputs()
    if not model.attention_layers and not isinstance(model.readout, AttentionReadout):
        return None, inputs, model.classify(tokens)
    with inputs.saved(model), record(model, gradients=with_gradients) as recording:
        logits = model.classify(tokens)
    return recording, inputs, logits
