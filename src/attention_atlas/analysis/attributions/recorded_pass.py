"""One pass of a model, with all that the methods make attributions of."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from attention_atlas.analysis.attributions.target import Question
from attention_atlas.attention import Attention, Recording, record
from attention_atlas.attention.observers import Pass, add_observer, remove_observer
from attention_atlas.attention.selection import attention_modules
from attention_atlas.encoder import AttentionReadout, Classifier, FirstReadout, Tokens


@dataclass(frozen=True)
class Recorded:
    """What a model did with a batch.

    Maps and gradients are computed when they are looked at; gradients are of the sum of the target
    logits, which is the gradient of each sample's own logit, because samples do not mix.

    Attributes:
        model: In eval mode.
        question: What was asked; its target is that of `target`.
        target: [B], the class explained.
        recording: Of all attention modules; None where the model has none.
        attended: By `Attention`, the tokens that it projected to queries [B, Q, D] and values
            [B, K, D].
        values: By module of a pretrained encoder, the values [B, num_kv_heads, K, E] of its heads.
    """

    model: Classifier
    question: Question
    target: Tensor
    recording: Recording | None
    attended: dict[str, tuple[Tensor, Tensor]]
    values: dict[str, Tensor]

    @property
    def valid(self) -> Tensor:
        """[B, K], True where a token of the layout is not padding."""
        return self.question.valid

    @property
    def maps(self) -> list[Tensor]:
        """The maps [B, H, K, K] of the encoder, first layer first."""
        return [self.map(name) for name in self.model.attention_layers]

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients by `maps`, first layer first."""
        return [self.gradient(name) for name in self.model.attention_layers]

    def map(self, name: str) -> Tensor:
        """The map of a module, [B, H, Q, K]."""
        assert self.recording is not None
        return self.recording.maps[name]

    def gradient(self, name: str) -> Tensor:
        """The gradient of the target logits by the map of a module, [B, H, Q, K]."""
        assert self.recording is not None
        return self.recording.gradients[name]

    @cached_property
    def pooling(self) -> Tensor:
        """How a readout that does not attend weighs the encoded tokens, [B, K].

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
    def leading_weights(self) -> Tensor:
        """How the prediction weighs the queries of the leading module, [B, Q]."""
        if isinstance(self.model.readout, AttentionReadout):
            return torch.ones_like(self.pooling[:, :1])
        return self.pooling

    @property
    def dtype(self) -> torch.dtype:
        """Float32, or float64 if the model computes in that."""
        return torch.promote_types(self.question.tokens.values.dtype, torch.float32)


def mean_weights(shown: Tensor) -> Tensor:
    """The same share for each token shown [B, K], by sample; zeros where there is none."""
    return shown / shown.sum(dim=1, keepdim=True).clamp(min=1)


def record_pass(model: Classifier, question: Question, with_gradients: bool) -> Recorded:
    """Run a model once, forward and, for gradients by the maps, back.

    The gradient is taken by the tokens alone: parameters may be frozen, and what gradients they
    have is not touched.
    """
    tokens = question.tokens
    values = tokens.values.detach().clone().requires_grad_(with_gradients)
    with torch.set_grad_enabled(with_gradients):
        tokens = Tokens(values, tokens.key_padding_mask, tokens.grid)
        recording, kept, logits = _classify(model, tokens, with_gradients)
    target = logits.argmax(dim=1) if question.target is None else question.target
    if with_gradients:
        # The gradients by the maps come by on the way, through hooks.
        torch.autograd.grad(logits.gather(1, target[:, None]).sum(), values)
    return Recorded(model, question, target, recording, kept.attended, kept.values)


class _Kept:
    """What goes into attention modules, kept while a model runs."""

    def __init__(self) -> None:
        self.attended: dict[str, tuple[Tensor, Tensor]] = {}
        self.values: dict[str, Tensor] = {}

    @contextmanager
    def of(self, modules: dict[str, nn.Module]) -> Iterator[None]:
        """Keep the tokens that each `Attention` gets, and the values of the other modules."""
        with ExitStack() as stack:
            for name, module in modules.items():
                if isinstance(module, Attention):
                    hook = module.register_forward_pre_hook(partial(self._keep_tokens, name))
                    stack.callback(hook.remove)
                else:
                    observer = partial(self._keep_values, name)
                    add_observer(module, observer)
                    stack.callback(remove_observer, module, observer)
            yield

    def _keep_tokens(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """The query's tokens come first and the value's last."""
        self.attended[name] = inputs[0].detach(), inputs[-1].detach()

    def _keep_values(self, name: str, seen: Pass) -> None:
        self.values[name] = seen.value.detach()


def _classify(
    model: Classifier, tokens: Tokens, with_gradients: bool
) -> tuple[Recording | None, _Kept, Tensor]:
    """Give the recording, what goes into each attention module, and the logits [B, C]."""
    modules, kept = attention_modules(model), _Kept()
    if not modules:
        return None, kept, model.classify(tokens)
    with kept.of(modules), record(model, gradients=with_gradients) as recording:
        logits = model.classify(tokens)
    return recording, kept, logits
