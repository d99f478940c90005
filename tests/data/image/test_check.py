"""Bad image data ends before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from attention_atlas.data.check import check_image
from attention_atlas.errors import InputError

NAMES = ["mnist5k", "mnist", "fashion_mnist", "cifar10", "cifar100", "image_folder"]


def config(repository: Path, data: str, **changes) -> dict:
    node = OmegaConf.load(repository / "conf" / "data" / f"{data}.yaml")
    plain = OmegaConf.to_container(
        OmegaConf.create({"seed": 0, "augmentation": {}, "data": node}), resolve=True
    )
    assert isinstance(plain, dict)
    return plain["data"] | {"augmentation": {}} | changes


@pytest.mark.parametrize("name", NAMES[:-1])
def test_the_shipped_configs_pass(repository: Path, name: str) -> None:
    check_image(config(repository, name))


@pytest.mark.parametrize("name", ["image", "image_rand", "mixup", "cutmix", "none"])
def test_the_shipped_augmentations_pass(repository: Path, name: str) -> None:
    node = OmegaConf.load(repository / "conf" / "augmentation" / f"{name}.yaml") or {}
    options = {key: value for key, value in node.items() if key != "defaults"}
    check_image(config(repository, "mnist5k", augmentation=options))


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("mnist5k", {"channels": 2}, "data.channels=2 is not possible: take 1 or 3"),
        ("mnist5k", {"image_size": 2}, "data.image_size=2 is not possible: take an integer from 4"),
        (
            "mnist5k",
            {"image_size": "big"},
            "data.image_size=big is not possible: take an integer from 4",
        ),
        (
            "mnist5k",
            {"val_fraction": 0},
            "data.val_fraction=0 is not possible: take a number above 0, below 0.5",
        ),
        ("mnist5k", {"test_fraction": 0.9}, "data.test_fraction=0.9 is not possible"),
        ("mnist5k", {"test_fraction": "all"}, "data.test_fraction=all is not possible"),
        ("mnist5k", {"max_memory_mib": -1}, "data.max_memory_mib=-1 is not possible"),
        (
            "mnist5k",
            {"name": "emnist"},
            "data.name=emnist is not possible: take one of mnist",
        ),
        (
            "mnist5k",
            {"augmentation": {"word_dropout": 0.1}},
            "augmentation.word_dropout is not a key of the config",
        ),
        ("mnist", {"path": "nowhere"}, "data.path=nowhere holds no MNIST"),
        ("cifar10", {"path": "nowhere"}, "cifar-10-batches-bin/test_batch.bin is missing"),
        ("image_folder", {"path": "nowhere"}, "data.path=nowhere does not exist"),
        ("image_folder", {}, "data.path is missing"),
    ],
)
def test_a_bad_choice_is_named(repository: Path, name: str, changes: dict, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        check_image(config(repository, name, **changes))
    assert sentence in str(error.value)


def test_checking_needs_no_torch() -> None:
    program = (
        "import sys; from attention_atlas.data.check import check_image; "
        "check_image({'name': 'mnist5k'}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
