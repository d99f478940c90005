"""Any pretrained model as it is, with the head that it was saved with, ready to be recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

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

from attention_atlas.pretrained.source import encoder_of, load_config, load_wired

HEADS: dict[str, tuple[Any, Mapping[str, str | Sequence[str]]]] = {
    "text": (AutoModelForSequenceClassification, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    "image": (AutoModelForImageClassification, MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
    "audio": (AutoModelForAudioClassification, MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES),
}
"""What finds the models that classify a modality, and their classes by type of model."""


def load_whole(name: str, modality: str) -> tuple[PreTrainedModel, PreTrainedModel, list[str]]:
    """A pretrained model, the part of it that encodes, and the classes that it predicts.

    Its head is kept where it was saved with one that classifies; else there are no classes.

    Raises:
        InputError: It cannot be loaded, or its maps cannot be recorded.
    """
    config = load_config(name)
    classifies = _classifies(config, modality)
    model, missing = load_wired(name, HEADS[modality][0] if classifies else AutoModel)
    if classifies and any(not key.startswith(f"{model.base_model_prefix}.") for key in missing):
        classifies = False  # its files have no head after all
        model, _ = load_wired(name, AutoModel)
    classes = []
    if classifies:
        labels: dict[Any, str] = dict(config.id2label or {})
        classes = [str(labels[place]) for place in sorted(labels)]
        return model.eval(), encoder_of(model.base_model, modality), classes
    encoder = encoder_of(model, modality).eval()
    return encoder, encoder, classes


def _classifies(config: PreTrainedConfig, modality: str) -> bool:
    """Whether the model was saved with a head that classifies the modality.

    Its class is one that transformers has for that (of wav2vec 2.0 a "ForSequenceClassification"),
    or is called so, as one of TensorFlow.
    """
    auto, by_type = HEADS[modality]
    if config.model_type not in by_type:
        return False
    classes = by_type[config.model_type]
    known = {classes} if isinstance(classes, str) else set(classes)
    kind = auto.__name__.removeprefix("AutoModel")
    return any(each in known or kind in each for each in config.architectures or [])
