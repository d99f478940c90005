"""A pretrained model with the head that it was saved with, as recording an atlas needs it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from attention_atlas.encoder.pretrained_inputs import build_inputs, has_cls
from attention_atlas.encoder.tokens import Batch, TokenLayout
from attention_atlas.pretrained.source import encoder_of, load_config, load_pretrained

HEADS: dict[str, tuple[Any, Mapping[str, str | Sequence[str]]]] = {
    "text": (AutoModelForSequenceClassification, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    "image": (AutoModelForImageClassification, MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
    "audio": (AutoModelForAudioClassification, MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES),
}
"""By modality: the auto class of classifiers, and the names of its classes by model type."""

MULTI_LABEL, REGRESSION = "multi_label_classification", "regression"
"""Problem types of transformers whose logits are not those of a softmax."""


class RecordableModel(nn.Module):
    """A pretrained model with its own head, if it has one.

    It takes the name of a model, as `load`, and the arguments of `build_inputs`.

    Attributes:
        classes: Names of its classes; empty without a classification head.
        multi_label: Whether an input may have several of the classes.

    Raises:
        InputError: The model cannot be loaded, recorded, or run on such inputs.
    """

    def __init__(self, name: str, modality: str, example: Batch, seconds: float = math.inf) -> None:
        super().__init__()
        model, encoder, self.classes = load_whole(name, modality)
        backbone, self.inputs = build_inputs(encoder, modality, example, seconds)
        self.model = model
        self.multi_label = model.config.problem_type == MULTI_LABEL
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


def load_whole(name: str, modality: str) -> tuple[PreTrainedModel, PreTrainedModel, list[str]]:
    """Load a pretrained model; return it, its encoder, and the classes that it predicts.

    Without a saved classification head, the model is its encoder and there are no classes.

    Raises:
        InputError: It cannot be loaded, or its maps cannot be recorded.
    """
    config = load_config(name)
    classifies = _classifies(config, modality)
    model, missing = load_pretrained(name, HEADS[modality][0] if classifies else AutoModel)
    if classifies and any(not key.startswith(f"{model.base_model_prefix}.") for key in missing):
        classifies = False  # its files have no head after all
        model, _ = load_pretrained(name, AutoModel)
    classes = []
    if classifies:
        labels: dict[Any, str] = dict(config.id2label or {})
        classes = [str(labels[index]) for index in sorted(labels)]
        return model.eval(), encoder_of(model.base_model, modality), classes
    encoder = encoder_of(model, modality).eval()
    return encoder, encoder, classes


def _classifies(config: PreTrainedConfig, modality: str) -> bool:
    """Whether the model was saved with a head that classifies the modality.

    Its class is listed by transformers for that purpose (for wav2vec 2.0 one named
    "ForSequenceClassification"), or has the name of one, as TensorFlow classes do.
    """
    auto, by_type = HEADS[modality]
    if config.problem_type == REGRESSION or config.num_labels == 1:  # a number is not a class
        return False
    if config.model_type not in by_type:
        return False
    classes = by_type[config.model_type]
    known = {classes} if isinstance(classes, str) else set(classes)
    kind = auto.__name__.removeprefix("AutoModel")
    return any(name in known or kind in name for name in config.architectures or [])
