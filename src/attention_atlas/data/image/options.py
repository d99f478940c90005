"""What a user may choose about images, checked before torch is imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from attention_atlas.data.augmentation_options import read_augmentation
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class ImageSource:
    """Which images, in which form, and how those without an official split are divided.

    Attributes:
        name: One of the names in `image_corpora.CORPORA`.
        path: Where the files lie; None for a data set that brings its own or is downloaded.
        image_size: Height and width that every image is brought to, in pixels.
        channels: 1 (grey) or 3 (colour).
        fit: Brings a decoded picture to that size, as a pretrained model has it; None scales it
            until it covers the square, and cuts off what sticks out.
        max_memory_mib: A folder whose decoded images take more is decoded batch by batch.
        val_fraction: Share of the samples that validate, where no official split says which.
        test_fraction: The same for the test split.

    Raises:
        InputError: A number is out of range.
    """

    name: str
    path: Path | None = None
    image_size: int = 28
    channels: int = 1
    max_memory_mib: int = 1024
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    fit: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(
                f"data.channels={self.channels} is not possible; take 1 (grey) or 3 (colour)."
            )
        if not isinstance(self.image_size, int) or not 4 <= self.image_size <= 4096:
            raise InputError(
                f"data.image_size={self.image_size} is not possible; "
                "take a height and width from 4 to 4096 pixels."
            )
        for key in ("val_fraction", "test_fraction"):
            share = getattr(self, key)
            if not _is_number(share) or not 0 < share < 0.5:
                raise InputError(
                    f"data.{key}={share} is not possible; take a share above 0 and below 0.5."
                )
        if not _is_number(self.max_memory_mib) or self.max_memory_mib < 0:
            raise InputError(
                f"data.max_memory_mib={self.max_memory_mib} is not possible; "
                "take a number of at least 0."
            )

    @property
    def bytes_per_image(self) -> int:
        """Memory of one decoded image."""
        return self.image_size * self.image_size * self.channels


@dataclass(frozen=True)
class ImageAugmentationOptions:
    """How training images are varied; the default is not at all.

    Attributes:
        degrees: Rotation, drawn from [-degrees, degrees] per image.
        translate: Shift in each direction, as a share of the side, drawn from both signs.
        scale: Zoom of each axis, drawn between 1 / scale and scale.
        shear: Shear in degrees, drawn from both signs.
        elastic: Standard deviation in pixels of a smooth random displacement (Simard 2003).
        flip: Probability of mirroring left and right, where the data allows it.
        rand_augment_ops: RandAugment operations per image (Cubuk 2020).
        rand_augment_magnitude: Their strength, 0 to 30.
        mixup_alpha: Beta distribution of the mixing share of mixup (Zhang 2018); 0 is off.
        cutmix_alpha: The same for CutMix (Yun 2019); with both, each batch takes one of them.

    Raises:
        InputError: A number is out of range.
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: float = 1.0
    shear: float = 0.0
    elastic: float = 0.0
    flip: float = 0.0
    rand_augment_ops: int = 0
    rand_augment_magnitude: int = 9
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self) -> None:
        limits = {"degrees": 180, "translate": 1, "shear": 60, "flip": 1}
        limits["rand_augment_magnitude"] = 30
        for option in fields(self):
            value = getattr(self, option.name)
            low = 1 if option.name == "scale" else 0
            high = limits.get(option.name, float("inf"))
            if not _is_number(value) or not low <= value <= high:
                bounds = f"of at least {low}" if high == float("inf") else f"from {low} to {high}"
                raise InputError(
                    f"augmentation.{option.name}={value!r} is not possible; take a number {bounds}."
                )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def augmentation_options(config: Mapping[str, Any] | None) -> ImageAugmentationOptions:
    """The options in an `augmentation` config node.

    Raises:
        InputError: A key is unknown or a number out of range.
    """
    return read_augmentation(ImageAugmentationOptions, config, "images")
