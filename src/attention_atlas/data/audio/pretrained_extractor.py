"""The feature extractor of a pretrained model."""

from typing import Any

from torch import Tensor
from transformers import AutoFeatureExtractor

from attention_atlas.data.audio.clips import SAMPLE_RATE
from attention_atlas.errors import InputError
from attention_atlas.pretrained.source import load


class PretrainedExtractor:
    """What a pretrained model makes of sound before it hears it.

    Args:
        name: A hub id, a folder, or the short name of a package.

    Raises:
        InputError: The model has no feature extractor, or one for another sample rate.
    """

    def __init__(self, name: str) -> None:
        self._extractor: Any = load(name, "feature extractor", AutoFeatureExtractor.from_pretrained)
        rate = getattr(self._extractor, "sampling_rate", None)
        if rate != SAMPLE_RATE:
            raise InputError(
                f"encoder.name={name} hears {rate} samples a second; clips have {SAMPLE_RATE}."
            )
        self.input_name: str = self._extractor.model_input_names[0]

    def __call__(self, waveforms: Tensor) -> Tensor:
        """Waveforms [B, samples] in [-1, 1] as the model takes them."""
        features: Tensor = self._extractor(
            list(waveforms.cpu().numpy()), sampling_rate=SAMPLE_RATE, return_tensors="pt"
        )[self.input_name]
        return features.to(waveforms.device)

    def save(self, folder: Any) -> None:
        """Write its options into a folder."""
        self._extractor.save_pretrained(folder)
