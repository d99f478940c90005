"""Build a classifier around a pretrained encoder, as the config has it."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from attention_atlas.data.base import PRETRAINED_FOLDER, AtlasDataModule
from attention_atlas.errors import InputError


def name_of(config: DictConfig, run_folder: Path | None = None) -> str:
    """Where the encoder comes from: a finished run keeps all but the weights.

    Raises:
        InputError: The run does not. It is looked for nowhere else: a run may be someone else's.
    """
    if run_folder is None:
        return str(config.encoder.name)
    kept = run_folder / PRETRAINED_FOLDER
    if not (kept / "config.json").is_file():
        raise InputError(f"{kept} does not tell of the pretrained encoder of the run.")
    return str(kept)


def build_classifier(
    options: dict[str, Any],
    attention: dict[str, Any],
    datamodule: AtlasDataModule,
    with_weights: bool,
) -> tuple[Any, dict[str, float]]:
    """A classifier around the pretrained encoder, and the learning rates of its parameters.

    Args:
        options: The encoder of the config.
        attention: Of the readout.
        datamodule: Set up, with the inputs of the encoder.
        with_weights: Whether to load the pretrained weights; a checkpoint brings its own.

    Raises:
        InputError: The encoder cannot be loaded, or does not fit the task.
    """
    # Loading transformers takes a while, which other encoders need not wait for.
    from attention_atlas.encoder.pretrained import PretrainedClassifier, PretrainedEncoder
    from attention_atlas.encoder.pretrained_inputs import build_inputs, has_cls
    from attention_atlas.encoder.readout import make_readout
    from attention_atlas.pretrained.source import load_model

    name = datamodule.pretrained_name
    assert name is not None
    model = load_model(name, datamodule.modality, with_weights)
    example = datamodule.prepare(datamodule.example(), training=False)
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
