"""A pretrained model as it was saved, with the interface that recording an atlas needs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from attention_atlas.encoder.pretrained_inputs import build_inputs, has_cls
from attention_atlas.encoder.tokens import Batch, TokenLayout
from attention_atlas.pretrained.whole import load_whole


class RecordableModel(nn.Module):
    """A pretrained model with its own head, if it has one.

    Args:
        name: A hub id, a folder, or the short name of a package.
        modality: `text`, `image` or `audio`.
        example: A prepared batch of one sample.
        seconds: Length of a clip of sound, in seconds.

    Attributes:
        classes: Names of its classes; empty without a classification head.

    Raises:
        InputError: The model cannot be loaded, recorded, or run on such inputs.
    """

    def __init__(self, name: str, modality: str, example: Batch, seconds: float = math.inf) -> None:
        super().__init__()
        model, encoder, self.classes = load_whole(name, modality)
        backbone, self.inputs = build_inputs(encoder, modality, example, seconds)
        self.model = model
        prefix = _prefix(model, encoder)
        self._layers = [f"model.{prefix}{layer}" for layer in backbone.layers]
        # The prediction of an encoder-decoder is read from the decoder.
        has_decoder = bool(model.config.is_encoder_decoder)
        self._has_cls = not has_decoder and has_cls(backbone, self.inputs, example)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits [B, C]; C is 0 without a head."""
        output = self.model(**self.inputs(batch))
        logits: Tensor | None = getattr(output, "logits", None)
        if logits is None:
            return torch.zeros(len(output.last_hidden_state), 0)
        return logits

    def token_layout(self, batch: Batch) -> TokenLayout:
        """Return the part of the input that each token stands for."""
        return self.inputs.layout(batch)

    @property
    def leading_tokens(self) -> Sequence[str]:
        """Names of the tokens that the model puts before those of the input."""
        return self.inputs.leading_tokens

    @property
    def attention_layers(self) -> list[str]:
        """Names of the attention modules, first layer first."""
        return self._layers

    @property
    def readout_layer(self) -> str | None:
        """The last layer, whose first row is that of the CLS token; None without this token."""
        return self._layers[-1] if self._has_cls else None


def _prefix(model: PreTrainedModel, encoder: PreTrainedModel) -> str:
    """Return the prefix of the encoder's module names in the whole model."""
    name = next(name for name, module in model.named_modules() if module is encoder)
    return f"{name}." if name else ""
