"""A pretrained model with the head that it was saved with, wired for recording."""

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
"""By modality: the auto class of classifiers, and the names of its classes by model type."""


def load_whole(name: str, modality: str) -> tuple[PreTrainedModel, PreTrainedModel, list[str]]:
    """Load a pretrained model; return it, its encoder, and the classes that it predicts.

    Without a saved classification head, the model is its encoder and there are no classes.

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
    if config.model_type not in by_type:
        return False
    classes = by_type[config.model_type]
    known = {classes} if isinstance(classes, str) else set(classes)
    kind = auto.__name__.removeprefix("AutoModel")
    return any(name in known or kind in name for name in config.architectures or [])
