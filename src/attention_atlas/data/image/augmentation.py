"""Augmentation of training images in batches, on their device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from attention_atlas.data.image.options import ImageAugmentationOptions


class ImageAugmentation:
    """Random changes of a batch of images, drawn from torch's global generator.

    `mirror` tells whether a mirrored image keeps its label; without it `options.flip` is ignored.
    """

    def __init__(self, options: ImageAugmentationOptions, num_classes: int, mirror: bool) -> None:
        self.options = options
        self.flip = options.flip if mirror else 0.0
        self.rand_augment = v2.RandAugment(
            options.rand_augment_ops, options.rand_augment_magnitude, num_magnitude_bins=31
        )
        self.mixers: list[v2.Transform] = []
        if options.mixup_alpha:
            self.mixers.append(v2.MixUp(alpha=options.mixup_alpha, num_classes=num_classes))
        if options.cutmix_alpha:
            self.mixers.append(v2.CutMix(alpha=options.cutmix_alpha, num_classes=num_classes))

    @property
    def varies(self) -> bool:
        """Whether single images are changed."""
        return bool(self.options.rand_augment_ops) or self._warps

    def vary(self, images: Tensor) -> Tensor:
        """Change each image, uint8 [B, channels, height, width] to float32 in [0, 1]."""
        if self.options.rand_augment_ops:
            images = torch.stack([self.rand_augment(image) for image in images])
        values = images.float() / 255
        return self._warp(values) if self._warps else values

    def mix(self, inputs: Tensor, label: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mix each image of a batch with another one, if mixup or CutMix is on.

        Returns:
            The mixed inputs and their soft label [B, C], or the unchanged inputs and None.
        """
        if not self.mixers:
            return inputs, None
        choice = int(torch.randint(len(self.mixers), ()))
        mixed, target = self.mixers[choice](inputs, label)
        return mixed, target

    @property
    def _warps(self) -> bool:
        options = self.options
        moves = (options.degrees, options.translate, options.shear, options.elastic, self.flip)
        return any(moves) or options.scale != 1

    @property
    def _only_shifts(self) -> bool:
        """Whether images are moved and mirrored, but neither turned nor stretched."""
        options = self.options
        bends = any((options.degrees, options.shear, options.elastic))
        return not bends and options.scale == 1

    def _warp(self, values: Tensor) -> Tensor:
        """Sample each image once, at points moved by an affine map and a smooth displacement."""
        maps = self._affine_maps(len(values))
        if self._only_shifts:  # by integer pixels, so that images stay as sharp as test images
            size = torch.tensor([values.shape[-1], values.shape[-2]])
            limit = (self.options.translate * size).floor()
            shift = (maps[:, :, 2] * size / 2).round().clamp(-limit, limit)
            maps[:, :, 2] = 2 * shift / size
        points = F.affine_grid(maps, list(values.shape), align_corners=False)
        if self.options.elastic:
            points = points + self._displacement(values)
        return F.grid_sample(
            values, points.to(values.device), padding_mode="border", align_corners=False
        )

    def _affine_maps(self, num_samples: int) -> Tensor:
        """Draw affine maps [B, 2, 3] from points of the new image to the old one, in [-1, 1]."""

        def draw(limit: float) -> Tensor:
            return limit * (2 * torch.rand(num_samples) - 1)

        options = self.options
        angle = draw(math.radians(options.degrees))
        slope = draw(math.radians(options.shear)).tan()
        zoom = torch.stack([draw(math.log(options.scale)), draw(math.log(options.scale))], 1).exp()
        shift = torch.stack([draw(2 * options.translate), draw(2 * options.translate)], 1)
        mirror = 1 - 2 * (torch.rand(num_samples) < self.flip).float()
        cos, sin = angle.cos(), angle.sin()
        across = torch.stack([cos, sin], 1) * mirror[:, None]
        down = torch.stack([-sin, cos], 1) + slope[:, None] * torch.stack([cos, sin], 1)
        linear = torch.stack([across, down], dim=2) * zoom[:, None]
        return torch.cat([linear, shift[:, :, None]], dim=2)

    def _displacement(self, values: Tensor) -> Tensor:
        """Draw a random field on 5 x 5 points, interpolated to [B, height, width, 2]."""
        size = values.shape[-2:]
        coarse = torch.randn(len(values), 2, 5, 5) * 2 * self.options.elastic / size[1]
        field = F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)
        return field.permute(0, 2, 3, 1)
