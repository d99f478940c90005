"""Check a `data` config node, and the files that it names, before torch is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attention_atlas.data.audio.options import AudioAugmentationOptions, AudioOptions
from attention_atlas.data.image.options import ImageAugmentationOptions, ImageOptions, ImageSource
from attention_atlas.data.options import DataOptions, read_options
from attention_atlas.data.text.options import TextAugmentationOptions, TextOptions
from attention_atlas.errors import InputError

MODALITIES = {
    "attention_atlas.data.text.module.TextDataModule": "text",
    "attention_atlas.data.image.module.ImageDataModule": "image",
    "attention_atlas.data.audio.module.AudioDataModule": "audio",
}
"""The modality of each data module; a config names one of them as its `_target_`."""

OWN_FILES = ("csv", "image_folder", "audio_folder")
"""The values of `data.name` that stand for files of the user."""

MAX_HEADERS = 5_000
"""Audio headers that are read; of larger folders, files spread evenly. Loading reads all."""


def modality_of(config: Mapping[str, Any]) -> str:
    """Return the modality of a `data` node: `text`, `image` or `audio`.

    Raises:
        InputError: The config names no data module of this project.
    """
    target = config.get("_target_")
    if target not in MODALITIES:
        raise InputError(f"data._target_={target} is not one of {', '.join(MODALITIES)}.")
    return MODALITIES[target]


def check_source(config: Mapping[str, Any], is_divided: bool = True) -> None:
    """Check the options of a data set, and the files that it is read from.

    Args:
        config: The `data` node as plain values, with `augmentation`.
        is_divided: Whether there must be enough files of your own for training; otherwise they may
            be few, and of one class.

    Raises:
        InputError: An option is out of range, or a file is missing or cannot be used.
    """
    checks = {"text": check_text, "image": check_image, "audio": check_audio}
    checks[modality_of(config)](config, is_divided)


def _check_group(options: DataOptions) -> None:
    if options.group is not None and options.name not in OWN_FILES:
        raise InputError(
            f"data.group={options.group} is for files of your own ({', '.join(OWN_FILES)}), not "
            f"for data={options.name}: leave it out."
        )


# The readers of a modality are imported for its own data alone: some take a while.


def check_text(config: Mapping[str, Any], is_divided: bool = True) -> None:
    """Check the `data` node of a text task."""
    from attention_atlas.data.text.csv_files import check_csv
    from attention_atlas.data.text.sources import find_reader

    options = read_options(TextOptions, config, "data.")
    read_options(TextAugmentationOptions, options.augmentation, "augmentation.")
    path = options.tokenizer_path
    if path is not None and not Path(path).is_file():
        raise InputError(f"data.tokenizer_path={path} does not exist; expected a tokenizer.json.")
    _check_group(options)
    if options.name == "csv":
        check_csv(options, is_divided)
    else:
        find_reader(options).check(options)


def check_image(config: Mapping[str, Any], is_divided: bool = True) -> None:
    """Check the `data` node of an image task."""
    from attention_atlas.data.image.cifar import CIFAR, find_cifar
    from attention_atlas.data.image.folder import check_folder
    from attention_atlas.data.image.mnist import MNIST, find_mnist

    options = read_options(ImageOptions, config, "data.")
    read_options(ImageAugmentationOptions, options.augmentation, "augmentation.")
    _check_group(options)
    source = ImageSource(options, is_whole=not is_divided)
    if options.name == "image_folder":
        check_folder(source)
    elif source.path is not None and options.name in CIFAR:
        find_cifar(options.name, source.path)
    elif source.path is not None and options.name in MNIST:
        find_mnist(options.name, source.path)


def check_audio(config: Mapping[str, Any], is_divided: bool = True) -> None:
    """Check the `data` node of an audio task."""
    from attention_atlas.data.audio.headers import check_header
    from attention_atlas.data.audio.speech_commands import find_root, official_splits
    from attention_atlas.data.groups import check_file_groups
    from attention_atlas.data.listing import list_files

    options = read_options(AudioOptions, config, "data.")
    read_options(AudioAugmentationOptions, options.augmentation, "augmentation.")
    _check_group(options)
    if options.name == "speech_commands" and (root := find_root(options.folder)):
        official_splits(root)
    if options.name == "audio_folder":
        files = list_files(options.folder, "audio", min_classes=2 if is_divided else 1).files
        if is_divided:
            check_file_groups(files, options.group, options.seed)
        for file in files[:: -(-len(files) // MAX_HEADERS)]:
            check_header(file.path)
