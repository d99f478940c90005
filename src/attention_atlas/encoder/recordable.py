"""A pretrained model as it was saved, in the form in which an atlas is made of it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from attention_atlas.encoder.pretrained_inputs import build_inputs, has_cls
from attention_atlas.encoder.tokens import Batch, TokenLayout
from attention_atlas.pretrained.whole import load_whole


class RecordableModel(nn.Module):
    """A pretrained model with its own head, or with none.

    Args:
        name: A hub id, a folder, or the short name of a package.
        modality: `text`, `image` or `audio`.
        example: A prepared batch of one sample.
        seconds: Of a clip, where it is sound.

    Attributes:
        classes: That it predicts; none where it has no head that classifies.

    Raises:
        InputError: It cannot be loaded, recorded, or run on such inputs.
    """

    def __init__(self, name: str, modality: str, example: Batch, seconds: float = math.inf) -> None:
        super().__init__()
        model, encoder, self.classes = load_whole(name, modality)
        backbone, self.inputs = build_inputs(encoder, modality, example, seconds)
        self.model = model
        prefix = _prefix(model, encoder)
        self._layers = [f"model.{prefix}{layer}" for layer in backbone.layers]
        has_decoder = bool(model.config.is_encoder_decoder)  # which the prediction is read from
        self._has_cls = not has_decoder and has_cls(backbone, self.inputs, example)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, C]; C is 0 without a head."""
        output = self.model(**self.inputs(batch))
        logits: Tensor | None = getattr(output, "logits", None)
        if logits is None:
            return torch.zeros(len(output.last_hidden_state), 0)
        return logits

    def token_layout(self, batch: Batch) -> TokenLayout:
        """What each token that the model sees stands for in the input."""
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
        """The last layer, whose first row is that of the CLS token; None without such a token."""
        return self._layers[-1] if self._has_cls else None


def _prefix(model: PreTrainedModel, encoder: PreTrainedModel) -> str:
    """What stands before the names of the encoder's modules in those of the whole model."""
    name = next(name for name, module in model.named_modules() if module is encoder)
    return f"{name}." if name else ""
