"""Options of images, checked before torch is imported."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from attention_atlas.data.options import DataOptions
from attention_atlas.errors import InputError
from attention_atlas.option_schema import Fraction, Keywords, keyword

SplitFraction = Annotated[float, Field(gt=0, lt=0.5)]


class ImageOptions(DataOptions):
    """Keywords of `ImageDataModule`."""

    name: Literal["mnist5k", "mnist", "fashion_mnist", "cifar10", "cifar100", "image_folder"] = (
        keyword("Name of the data set.", ...)
    )
    image_size: Annotated[int, Field(ge=4, le=4096)] = keyword(
        "Height and width that every image is brought to, in pixels.", 28
    )
    channels: Literal[1, 3] = keyword("1 for grey, 3 for colour.", 1)
    mirror: bool = keyword("Whether a mirrored image keeps its label.", False)
    val_fraction: SplitFraction = keyword(
        "Fraction of the samples that validate, where no official split says which.", 0.1
    )
    test_fraction: SplitFraction = keyword("The same for the test split.", 0.2)
    max_memory_mib: NonNegativeFloat = keyword(
        "A folder whose decoded images take more is decoded batch by batch.", 1024
    )


class ImageAugmentationOptions(Keywords):
    """How training images are varied; the default is not at all."""

    degrees: Annotated[float, Field(ge=0, le=180)] = keyword(
        "Rotation, drawn from [-degrees, degrees] per image.", 0.0
    )
    translate: Fraction = keyword("Maximum shift in each direction, in units of the side.", 0.0)
    scale: Annotated[float, Field(ge=1)] = keyword(
        "Zoom of each axis, drawn between 1 / scale and scale.", 1.0
    )
    shear: Annotated[float, Field(ge=0, le=60)] = keyword("Maximum shear in degrees.", 0.0)
    elastic: NonNegativeFloat = keyword(
        "Standard deviation in pixels of a smooth random displacement (Simard 2003).", 0.0
    )
    flip: Fraction = keyword("Probability of mirroring, where `data.mirror` allows it.", 0.0)
    rand_augment_ops: NonNegativeInt = keyword("RandAugment operations per image (Cubuk 2020).", 0)
    rand_augment_magnitude: Annotated[int, Field(ge=0, le=30)] = keyword("Their strength.", 9)
    mixup_alpha: NonNegativeFloat = keyword(
        "Beta distribution of the mixing weight of mixup (Zhang 2018); 0 is off.", 0.0
    )
    cutmix_alpha: NonNegativeFloat = keyword(
        "The same for CutMix (Yun 2019); with both, each batch takes one of them.", 0.0
    )


class Fit(Protocol):
    """A function that brings a decoded picture to the size and channels of a model.

    Attributes:
        key: Everything that determines the result for a picture, as JSON values.
    """

    key: dict[str, Any]

    def __call__(self, picture: Any) -> Any:
        """Return uint8 [height, width, channels] of a picture."""


class ImageSource(NamedTuple):
    """Which images, and in which form.

    Attributes:
        options: Options of the data set.
        fit: Brings a decoded picture to `options.image_size`, as a pretrained model has it; None
            scales it until it covers the square, and crops what sticks out.
        is_whole: Whether a folder without splits is tested, not divided; it may hold one class.
    """

    options: ImageOptions
    fit: Fit | None = None
    is_whole: bool = False

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.options.name

    @property
    def path(self) -> Path | None:
        """Location of the files; None for a data set that brings its own or is downloaded."""
        return None if self.options.path is None else Path(self.options.path).expanduser()

    @property
    def folder(self) -> Path:
        """The path of a data set that needs one.

        Raises:
            InputError: There is none.
        """
        if self.path is None:
            raise InputError(
                "data.path is missing; data=image_folder needs a folder with one folder per class."
            )
        return self.path

    @property
    def bytes_per_image(self) -> int:
        """Memory of one decoded image."""
        return self.options.image_size**2 * self.options.channels

    def resized(self, image_size: int, **changes: Any) -> "ImageSource":
        """Return the source with another size of the images, and other changes of its options."""
        changed = self.options.model_copy(update={"image_size": image_size, **changes})
        return self._replace(options=changed)
