"""Remove patches from images."""

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from attention_atlas.analysis.faithfulness.removal.base import Batch, Removal, in_boxes
from attention_atlas.encoder import TokenLayout


class PatchRemoval(Removal):
    """Replaces the pixels of a patch."""

    def covered(self, batch: Batch, removed: Tensor, layout: TokenLayout) -> Tensor:
        """[B, 1, height, width]."""
        height, width = batch["inputs"].shape[-2:]
        rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        return in_boxes(removed, layout.boxes, rows, columns)[:, None]


class BlurRemoval(PatchRemoval):
    """Replaces a patch by that of a blurred copy of its image (Fong & Vedaldi 2017).

    The standard deviation of the Gaussian is the side of a patch, so that nothing finer is left.
    """

    name = "blur"
    description = "the same region of a blurred copy, by a Gaussian as wide as a patch"

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Return the blurred images, [B, channels, height, width]."""
        images: Tensor = batch["inputs"]
        top, left, bottom, right = layout.boxes.nan_to_num(0).unbind(-1)
        sigma = [float((right - left).max()), float((bottom - top).max())]
        # The border is reflected, so the kernel reaches no further than the image.
        sizes = (images.shape[-1], images.shape[-2])
        kernel = [
            2 * min(math.ceil(3 * side), size - 1) + 1
            for side, size in zip(sigma, sizes, strict=True)
        ]
        blurred: Tensor = functional.gaussian_blur(images, kernel, sigma)
        return blurred


class MeanRemoval(PatchRemoval):
    """Replaces a patch by the mean of the training images, 0 after normalisation."""

    name = "mean"
    description = "the mean of the training images"

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Zeros, [B, channels, height, width]."""
        return torch.zeros_like(batch["inputs"])
