"""The data module and the model of a config; neither imports Lightning, which takes seconds."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from attention_atlas.config.instantiate import instantiate
from attention_atlas.config.plain import plain
from attention_atlas.config.validation import is_pretrained
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.encoder import (
    Classifier,
    PatchEmbedding,
    SpectrogramEmbedding,
    TextEmbedding,
    TransformerEncoder,
    make_readout,
)
from attention_atlas.errors import InputError
from attention_atlas.run_folder import PRETRAINED

EMBEDDINGS = {"text": TextEmbedding, "image": PatchEmbedding, "audio": SpectrogramEmbedding}
"""The embedding of each modality."""


def build_datamodule(
    config: DictConfig,
    run_folder: Path | None = None,
    read: bool = True,
    init: Path | None = None,
    checkpoint: Mapping[str, Any] | None = None,
    tested_classes: list[str] | None = None,
) -> AtlasDataModule:
    """Return the data module of `data`, set up: read, checked and split.

    Args:
        config: As composed and checked.
        run_folder: An earlier run, whose folder holds what its data module learned from its data.
        read: Whether to read the data, for which the module can be used by Lightning's trainer;
            otherwise it prepares user input only, without importing Lightning.
        init: A run whose weights will be taken, though not its classes.
        checkpoint: A checkpoint of the run, whose rule divides the data; None takes the current
            one.
        tested_classes: Classes of a run that is tested on all of the data; None divides it.
    """
    datamodule: AtlasDataModule = instantiate(config.data)
    datamodule.tested_classes = tested_classes
    if checkpoint is not None:  # an earlier version did not write it
        state = checkpoint.get(type(datamodule).__qualname__, {})
        datamodule.split_version = state.get("split_version", 1)
    if is_pretrained(config):
        datamodule.use_pretrained(_encoder_name(config, run_folder or init))
    if run_folder is not None:
        datamodule.restore(run_folder)
    if init is not None:
        datamodule.restore_vocabulary(init)
    if read:
        for_trainer(datamodule)
        datamodule.setup()
    return datamodule


def for_trainer(datamodule: AtlasDataModule) -> None:
    """Turn a data module into one that Lightning's trainer takes."""
    from lightning.pytorch import LightningDataModule

    datamodule.__class__ = _trainer_class(type(datamodule))
    LightningDataModule.__init__(datamodule)  # type: ignore[arg-type]


@cache
def _trainer_class(own: type[AtlasDataModule]) -> type[AtlasDataModule]:
    """Derive a class from one of `data` and from Lightning's, which a prediction does not need.

    The name stays, by which Lightning saves the state of a data module in its checkpoints.
    """
    from lightning.pytorch import LightningDataModule

    names = {"__module__": own.__module__, "__qualname__": own.__qualname__}
    return type(own.__name__, (own, LightningDataModule), names)


def build_model(
    config: DictConfig, datamodule: AtlasDataModule, with_weights: bool = True
) -> tuple[Classifier, dict[str, float]]:
    """Return a new model that fits the data, and the learning rates of single parameters by name.

    A pretrained encoder gets its weights only `with_weights`, since a checkpoint brings its own.

    Raises:
        InputError: The pretrained encoder cannot be loaded, or does not fit the task.
    """
    encoder, attention = plain(config.encoder), plain(config.attention)
    if is_pretrained(config):
        return _build_pretrained(encoder, attention, datamodule, with_weights)
    del encoder["name"]
    embed_dim, num_heads = encoder["embed_dim"], encoder["num_heads"]
    readout, head_dropout = encoder.pop("readout"), encoder.pop("head_dropout")
    embedding = datamodule.embedding_options(embed_dim, plain(config.embedding))
    model = Classifier(
        EMBEDDINGS[datamodule.modality](embed_dim=embed_dim, **embedding),
        TransformerEncoder(**encoder, attention=attention),
        make_readout(readout, embed_dim, num_heads, attention),
        embed_dim,
        len(datamodule.classes),
        head_dropout,
    )
    return model, {}


def _encoder_name(config: DictConfig, run_folder: Path | None = None) -> str:
    """Source of the encoder: a finished run holds all but the weights.

    Raises:
        InputError: The run does not. It is looked for nowhere else: a run may be someone else's.
    """
    if run_folder is None:
        return str(config.encoder.name)
    folder = run_folder / PRETRAINED
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} does not describe the pretrained encoder of the run.")
    return str(folder)


def _build_pretrained(
    options: dict[str, Any],
    attention: dict[str, Any],
    datamodule: AtlasDataModule,
    with_weights: bool,
) -> tuple[Classifier, dict[str, float]]:
    """Return `build_model` of a pretrained encoder and the attention of its readout."""
    # Loading transformers takes a while, which other encoders need not wait for.
    from attention_atlas.encoder.pretrained import PretrainedClassifier, PretrainedEncoder
    from attention_atlas.encoder.pretrained_inputs import build_inputs, has_cls
    from attention_atlas.pretrained.source import load_model

    name = datamodule.pretrained_name
    assert name is not None
    model = load_model(name, datamodule.modality, with_weights)
    example = datamodule.prepare(datamodule.dummy_batch(), training=False)
    seconds = datamodule.clip_seconds
    backbone, inputs = build_inputs(model, datamodule.modality, example, seconds)
    if options["readout"] == "cls" and not has_cls(backbone, inputs, example):
        raise InputError(
            f"encoder.readout=cls needs a first token that stands for the whole input, and "
            f"{type(model).__name__} has none. Take encoder.readout=attention or mean."
        )
    if options["readout"] == "attention" and backbone.width % options["num_heads"]:
        fitting = [str(heads) for heads in range(1, 17) if backbone.width % heads == 0]
        raise InputError(
            f"encoder.num_heads={options['num_heads']} of the readout does not fit the encoder's "
            f"width of {backbone.width}: take one of {', '.join(fitting)}."
        )
    encoder = PretrainedEncoder(backbone, inputs, options["freeze"], options["lora"])
    try:
        readout = make_readout(
            options["readout"], backbone.width, options["num_heads"], attention, has_cls=True
        )
    except ValueError as error:
        raise InputError(f"The readout does not fit the encoder's width: {error}") from error
    classifier = PretrainedClassifier(
        encoder, readout, len(datamodule.classes), options["head_dropout"]
    )
    rates = encoder.learning_rates(options["lr"], options["layer_decay"])
    return classifier, {f"encoder.{name}": rate for name, rate in rates.items()}
