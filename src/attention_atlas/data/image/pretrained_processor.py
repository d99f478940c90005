"""The image processor of a pretrained model."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoImageProcessor

from attention_atlas.errors import InputError
from attention_atlas.pretrained.source import load


class PretrainedProcessor:
    """What a pretrained model does to images before it sees them.

    Args:
        name: A hub id, a folder, or the short name of a package.

    Attributes:
        side: Pixels that images of a folder are brought to, from where the processor goes on.

    Raises:
        InputError: The model has no image processor.
    """

    def __init__(self, name: str) -> None:
        self._processor: Any = load(name, "image processor", AutoImageProcessor.from_pretrained)
        size = self._processor.size
        sides = [getattr(size, "height", None), getattr(size, "shortest_edge", None)]
        known = [side for side in sides if side]
        if not known:
            raise InputError(f"encoder.name={name} takes images of no fixed size: {size}.")
        self.side = int(known[0])

    def __call__(self, images: Tensor) -> Tensor:
        """Images uint8 [B, 3, height, width] as the model takes them, float32."""
        processed: Tensor = self._processor(images=list(images), return_tensors="pt").pixel_values
        return processed.to(images.device)

    @property
    def normalised_by(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation [3, 1, 1] of pixels in [0, 1]."""
        mean, deviation = self._processor.image_mean, self._processor.image_std
        if not self._processor.do_normalize:
            mean, deviation = [0.0] * 3, [1.0] * 3
        return torch.tensor(mean)[:, None, None], torch.tensor(deviation)[:, None, None]

    def save(self, folder: Any) -> None:
        """Write its options into a folder."""
        self._processor.save_pretrained(folder)
