"""Any pretrained model as it is, with the head that it was saved with, ready to be recorded."""

from typing import Any

import transformers
from transformers import AutoModel, PreTrainedModel

from attention_atlas.pretrained.source import encoder_of, load_config, load_wired

HEADS = {
    "text": "AutoModelForSequenceClassification",
    "image": "AutoModelForImageClassification",
    "audio": "AutoModelForAudioClassification",
}


def load_whole(name: str, modality: str) -> tuple[PreTrainedModel, PreTrainedModel, list[str]]:
    """A pretrained model, the part of it that encodes, and the classes that it predicts.

    Its head is kept where it was saved with one that classifies; else there are no classes.

    Raises:
        InputError: It cannot be loaded, or its maps cannot be recorded.
    """
    config = load_config(name)
    head = HEADS[modality]
    kind = head.removeprefix("AutoModel")
    classifies = any(kind in each for each in config.architectures or [])
    model = load_wired(name, getattr(transformers, head) if classifies else AutoModel)
    classes = []
    if classifies:
        labels: dict[Any, str] = dict(config.id2label or {})
        classes = [str(labels[place]) for place in sorted(labels)]
        return model.eval(), encoder_of(model.base_model, modality), classes
    encoder = encoder_of(model, modality).eval()
    return encoder, encoder, classes
