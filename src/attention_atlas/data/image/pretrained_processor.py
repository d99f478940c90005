"""The image processor of a pretrained model."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor

from attention_atlas.errors import InputError
from attention_atlas.pretrained.source import load

RESIZE_ONLY = {"do_rescale": False, "do_normalize": False}
FLIP = "do_flip_channel_order"  # to blue, green, red: an option of few processors, done once
NORMALISE_ONLY = {"do_resize": False, "do_center_crop": False}


class ProcessorFit:
    """Resizes and crops pictures as an image processor does, to uint8 [side, side, 3].

    Attributes:
        key: Everything that determines the result for a picture, as JSON values.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.key = {
            "processor": type(processor).__qualname__,
            "options": json.loads(processor.to_json_string()),
            **{name: version(name) for name in ("transformers", "torch", "torchvision")},
        }

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Return uint8 [side, side, 3] of a picture."""
        return self.shaped([picture])[0].permute(1, 2, 0).numpy()

    def shaped(self, images: list[Any]) -> Tensor:
        """Resize and crop images to uint8 [B, 3, height, width]."""
        unchanged = {FLIP: False} if hasattr(self._processor, FLIP) else {}
        shaped: Tensor = self._processor(
            images=images, return_tensors="pt", **RESIZE_ONLY, **unchanged
        ).pixel_values
        return shaped.round().clamp(0, 255).to(torch.uint8)


class PretrainedProcessor:
    """The image processor of a pretrained model, by its name.

    Attributes:
        fit: Resizes and crops a picture to the model's input.
        side: Height and width of the model's input, in pixels.

    Raises:
        InputError: The model has no image processor, or its output is not a square of fixed size.
    """

    def __init__(self, name: str) -> None:
        self._processor: Any = load(name, "image processor", AutoImageProcessor.from_pretrained)
        self.fit = ProcessorFit(self._processor)
        wide, high = (Image.new("RGB", size) for size in ((96, 64), (64, 96)))
        sizes = {self.fit(image).shape[:2] for image in (wide, high)}
        if len(sizes) > 1 or len(set(next(iter(sizes)))) > 1:
            listed = " and ".join(f"{width} x {height}" for height, width in sorted(sizes))
            raise InputError(
                f"encoder.name={name} makes images of {listed} pixels; one square size is needed."
            )
        self.side = next(iter(sizes))[0]

    def __call__(self, images: Tensor) -> Tensor:
        """Return the model's input, float32, for images uint8 [B, 3, height, width].

        Images of the size that `fit` returns are not resized again.
        """
        if images.shape[-2:] != (self.side, self.side):
            images = self.fit.shaped(list(images)).to(images.device)
        processed: Tensor = self._processor(
            images=list(images), return_tensors="pt", **NORMALISE_ONLY
        ).pixel_values
        return processed.to(images.device)

    @property
    def normalised_by(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [3, 1, 1] of the channels of the input, for pixels in [0, 1].

        They are found by black and by white, whatever the processor scales by or subtracts.
        """
        black, white = self._channels_of((0, 0, 0)), self._channels_of((255, 255, 255))
        deviation = 1 / (white - black)
        return (-black * deviation)[:, None, None], deviation[:, None, None]

    @property
    def colour_order(self) -> list[int]:
        """The channel of the input that each of red, green and blue becomes."""
        black = self._channels_of((0, 0, 0))
        pure = [[255 * (colour == other) for other in range(3)] for colour in range(3)]
        return [int((self._channels_of(each) - black).abs().argmax()) for each in pure]

    def _channels_of(self, colour: Sequence[int]) -> Tensor:
        """Return the channels [3] of the input for a picture of one colour."""
        picture = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
        return self(picture.expand(1, 3, self.side, self.side))[0, :, 0, 0].double()

    def save_pretrained(self, folder: Any) -> None:
        """Write the options of the processor into a folder."""
        self._processor.save_pretrained(folder)
