"""Each augmentation changes what it says, and draws from torch's global generator alone."""

import pytest
import torch

from attention_atlas.data.image.augmentation import ImageAugmentation
from attention_atlas.data.image.options import ImageAugmentationOptions
from attention_atlas.data.options import read_options
from attention_atlas.errors import InputError


def augmentation(mirror: bool = True, **options) -> ImageAugmentation:
    return ImageAugmentation(ImageAugmentationOptions(**options), num_classes=4, mirror=mirror)


@pytest.fixture
def images() -> torch.Tensor:
    """uint8 [6, 1, 16, 16] with something different in each corner, and an empty border."""
    torch.manual_seed(0)
    inner = torch.randint(256, (6, 1, 10, 10), dtype=torch.uint8)
    return torch.nn.functional.pad(inner, (3, 3, 3, 3))


def test_no_options_only_scale_to_the_unit_range(images: torch.Tensor) -> None:
    state = torch.get_rng_state()
    assert torch.equal(augmentation().vary(images), images.float() / 255)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "options",
    [
        {"degrees": 20},
        {"translate": 0.2},
        {"scale": 1.3},
        {"shear": 20},
        {"elastic": 1.0},
        {"rand_augment_ops": 2},
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_vary_apart_and_again_from_the_same_random_state(
    images: torch.Tensor, options: dict, channels: int
) -> None:
    same = images[:1].expand(6, channels, -1, -1).contiguous()
    vary = augmentation(**options).vary
    torch.manual_seed(1)
    first, second = vary(same), vary(same)
    assert first.shape == same.shape
    assert 0 <= first.min() <= first.max() <= 1
    assert len({image.numpy().tobytes() for image in first}) > 1
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(vary(same), first)


def test_a_flip_mirrors_and_only_where_the_data_allows_it(images: torch.Tensor) -> None:
    expected = images.float() / 255
    flipped = augmentation(flip=1.0).vary(images)
    assert torch.allclose(flipped, expected.flip(-1), atol=1e-5)
    assert torch.equal(augmentation(mirror=False, flip=1.0).vary(images), expected)


def test_half_of_the_images_are_flipped(images: torch.Tensor) -> None:
    many = images[:1].expand(400, -1, -1, -1)
    torch.manual_seed(0)
    kept = torch.isclose(augmentation(flip=0.5).vary(many), many / 255, atol=1e-5)
    assert 150 < kept.flatten(1).all(1).sum() < 250


def test_shifts_and_turns_stay_within_their_limits() -> None:
    dot = torch.zeros(500, 1, 33, 33, dtype=torch.uint8)
    dot[:, :, 15:18, 15:18] = 255  # in the middle: only a shift moves it

    def centres(values: torch.Tensor) -> torch.Tensor:
        mass = values[:, 0] / values[:, 0].sum((1, 2), keepdim=True)
        steps = torch.arange(33.0)
        return torch.stack([mass.sum(2) @ steps, mass.sum(1) @ steps], 1) - 16

    torch.manual_seed(0)
    shifted = centres(augmentation(translate=0.2).vary(dot))
    assert shifted.abs().max().item() == pytest.approx(6, abs=1e-3)  # whole pixels of 0.2 * 33
    turned = centres(augmentation(degrees=90, scale=1.2, shear=10).vary(dot))
    assert turned.abs().max() < 0.1

    above = torch.zeros(500, 1, 33, 33, dtype=torch.uint8)
    above[:, :, 3:6, 15:18] = 255
    down, across = centres(augmentation(degrees=30).vary(above)).T
    angles = torch.rad2deg(torch.atan2(across, -down))
    assert 25 < angles.abs().max() < 30.5
    assert angles.min() < -25 < 25 < angles.max()


def test_shifts_alone_are_by_whole_pixels(images: torch.Tensor) -> None:
    """A shift between pixels would blur what the test shows sharp."""
    shifted = augmentation(translate=0.2, flip=0.5).vary(images)
    values = {round(value, 4) for value in (images.float() / 255).unique().tolist()}
    assert {round(value, 4) for value in shifted.unique().tolist()} <= values
    assert not torch.equal(shifted, images.float() / 255)
    turned = augmentation(translate=0.2, degrees=5).vary(images)
    assert len(turned.unique()) > 2 * len(values)


@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
def test_mixing_gives_soft_labels_of_the_fractions(kind: str) -> None:
    inputs = torch.stack([torch.full((1, 8, 8), float(value)) for value in range(4)])
    torch.manual_seed(0)
    mixed, target = augmentation(**{kind: 1.0}).mix(inputs, torch.arange(4))
    assert target is not None
    assert target.shape == (4, 4)
    assert torch.allclose(target.sum(1), torch.ones(4))
    assert ((target > 0).sum(1) == 2).all()
    # each input is worth its label here, so the mean pixel is the mean label
    assert torch.allclose(mixed.mean((1, 2, 3)), target @ torch.arange(4.0), atol=1e-5)


def test_with_both_each_batch_takes_one_of_them() -> None:
    inputs = torch.stack([torch.full((1, 8, 8), float(value)) for value in range(4)])
    mix = augmentation(mixup_alpha=1.0, cutmix_alpha=1.0).mix
    torch.manual_seed(0)
    blended = {
        bool((mix(inputs, torch.arange(4))[0] % 1 > 0).any())  # CutMix keeps pixels whole
        for _ in range(20)
    }
    assert blended == {True, False}


def test_without_mixing_there_is_no_target(images: torch.Tensor) -> None:
    inputs = images.float()
    mixed, target = augmentation(degrees=5).mix(inputs, torch.zeros(6, dtype=torch.long))
    assert mixed is inputs
    assert target is None


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"degree": 3},
            "augmentation.degree is not a key of the config. Did you mean augmentation.degrees?",
        ),
        ({"word_dropout": 0.3}, "augmentation has cutmix_alpha, degrees"),
        ({"degrees": 400}, "augmentation.degrees=400 is not possible: take a number from 0 to 180"),
        ({"scale": 0.5}, "augmentation.scale=0.5 is not possible: take a number, 1 or more"),
        ({"flip": "yes"}, "augmentation.flip=yes is not possible: take a number from 0 to 1"),
        ({"mixup_alpha": -1}, "take a number, 0 or more"),
    ],
)
def test_a_bad_option_is_named(config: dict, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        read_options(ImageAugmentationOptions, config, "augmentation.")
    assert sentence in str(error.value)
