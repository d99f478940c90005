"""Record a model on user inputs, and store the result in an atlas."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from attention_atlas.atlas import AtlasAttributes, AtlasWriter
from attention_atlas.atlas.captured_batch import CapturedBatch
from attention_atlas.config.validation import TASKS
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.loader import Batch
from attention_atlas.data.text.module import TextDataModule
from attention_atlas.data.user_inputs import UserInput
from attention_atlas.encoder import Classifier
from attention_atlas.errors import InputError
from attention_atlas.pipeline.load_run import load_run
from attention_atlas.pipeline.recording.batch_recorder import BatchRecorder
from attention_atlas.pipeline.recording.describe import (
    describe_atlas,
    describe_spectrogram,
    edge_tokens,
    max_tokens,
)
from attention_atlas.run_folder import best_checkpoint

READ_AT_ONCE = 256
"""Files that are in memory at a time."""


@dataclass(frozen=True)
class Predictor:
    """A model, and the preparation of its inputs.

    Attributes:
        model: The model in evaluation mode; a `Classifier`, or a pretrained model as it is.
        datamodule: Prepares inputs as those that the model was trained on.
        attributes: Attributes of the atlases that are made with it.
        max_tokens: Maximum tokens of one input; None where that is not known.
    """

    model: nn.Module
    datamodule: AtlasDataModule
    attributes: AtlasAttributes
    max_tokens: int | None = None

    @property
    def modality(self) -> str:
        """`text`, `image` or `audio`."""
        return self.datamodule.modality

    @property
    def readout_layer(self) -> str | None:
        """The module whose row leads to the prediction, if there is one."""
        layer: str | None = self.model.readout_layer  # type: ignore[assignment]
        return layer


def predictor_of_run(folder: Path) -> Predictor:
    """The model of a finished run; the data that it was trained on is not needed.

    Raises:
        InputError: The run cannot be used.
    """
    run = load_run(folder)
    run.config.run_folder = str(folder)  # which Hydra knew
    digest = hashlib.sha256(best_checkpoint(folder).read_bytes()).hexdigest()
    attributes = describe_atlas(run.config, run.model, run.datamodule, digest)
    return Predictor(run.model, run.datamodule, attributes, max_tokens(run.model, run.datamodule))


def predictor_of_model(name: str, modality: str, clip_seconds: float = 1.0) -> Predictor:
    """Any pretrained model, with the head that it was saved with.

    Args:
        name: A hub id, a folder, or the short name of a package.
        modality: `text`, `image` or `audio`.
        clip_seconds: Seconds of sound that the model takes.

    Raises:
        InputError: The model cannot be loaded, or its maps cannot be recorded.
    """
    from attention_atlas.encoder.recordable import RecordableModel  # loads transformers

    datamodule = _datamodule(modality, clip_seconds)
    datamodule.classes = []
    datamodule.use_pretrained(name)
    example = datamodule.prepare(datamodule.dummy_batch(), training=False)
    model = RecordableModel(name, modality, example, clip_seconds).eval()
    if isinstance(datamodule, TextDataModule) and model.model.config.pad_token_id is None:
        # By it a head of a causal model finds the last token (GPT-2 has none).
        model.model.config.pad_token_id = datamodule.special.pad
    datamodule.classes = model.classes
    attributes = AtlasAttributes(
        task=TASKS[modality],
        data="given",
        classes=model.classes,
        token_layout=model.inputs.layout_kind,
        layers=model.attention_layers,
        **edge_tokens(model, datamodule),
        mechanism={"score": "scaled_dot"},
        config={"encoder": {"name": name}},
        multi_label=model.multi_label,
        **describe_spectrogram(datamodule),
    )
    max_tokens = model.inputs.num_tokens or getattr(datamodule, "max_tokens", None)
    return Predictor(model, datamodule, attributes, max_tokens)


def _datamodule(modality: str, clip_seconds: float) -> AtlasDataModule:
    if modality == "text":
        return TextDataModule("csv")
    if modality == "image":
        from attention_atlas.data.image.module import ImageDataModule

        return ImageDataModule("image_folder")
    from attention_atlas.data.audio.module import AudioDataModule

    return AudioDataModule("audio_folder", clip_seconds=clip_seconds)


def record_inputs(
    predictor: Predictor,
    inputs: Sequence[UserInput],
    path: Path,
    *,
    data: str = "given",
    batch_size: int = 32,
    num_samples: int | None = None,
    dtype: str = "float16",
    methods: Sequence[str] = (),
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, list[float]]]:
    """Run a model on inputs and write an atlas of them, in their order.

    Args:
        predictor: The model.
        inputs: The inputs.
        path: Where the atlas is made.
        data: What the atlas calls the data.
        batch_size: Inputs that run together.
        num_samples: Number of inputs, from the first on, whose full maps are stored; None: all.
        dtype: Type of the maps, `float16` or `float32`.
        methods: Attributions to compute too; for a `Classifier` alone.
        device: Where the model runs; None takes a GPU where there is one.
        progress: Called with the inputs done and all inputs.

    Returns:
        By sample id and method, the weights of its tokens.

    Raises:
        InputError: An input cannot be read, the atlas cannot be written, or there is no such
            device.
    """
    target = _find_device(device)
    predictor.model.to(target)
    whole = {each.name for each in inputs[:num_samples]}
    attributes = replace(predictor.attributes, data=data)
    recorder = BatchRecorder(whole, True, attributes.has_null_key, dtype=dtype)
    weights: dict[str, dict[str, list[float]]] = {}
    writer = AtlasWriter(
        path,
        attributes,
        max_tokens=predictor.max_tokens,
        num_samples=len(inputs),
        maps_dtype=dtype,
    )
    done = 0
    with writer:
        for batch in _batches(predictor, inputs, batch_size, target):
            writer.add_batch(_record(predictor, recorder, batch))
            if methods:
                weights |= _attribute(predictor, batch, methods)
            done += len(batch["sample_id"])
            if progress is not None:
                progress(done, len(inputs))
    return weights


def _find_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # as torch says that it was built without
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"--device {name} is not possible: {reason}.") from error
    return device


def _batches(
    predictor: Predictor, inputs: Sequence[UserInput], batch_size: int, device: torch.device
) -> Iterator[Batch]:
    for first in range(0, len(inputs), READ_AT_ONCE):
        dataset = predictor.datamodule.make_dataset(inputs[first : first + READ_AT_ONCE])
        for start in range(0, len(dataset), batch_size):
            indices = list(range(start, min(start + batch_size, len(dataset))))
            raw = dataset.__getitems__(indices).items()
            moved = {key: x.to(device) if torch.is_tensor(x) else x for key, x in raw}
            yield predictor.datamodule.prepare(moved, training=False)


@torch.no_grad()
def _record(predictor: Predictor, recorder: BatchRecorder, batch: Batch) -> CapturedBatch:
    model = predictor.model
    recorder.open(model, batch)  # type: ignore[arg-type]
    try:
        model(batch)
    except BaseException:
        recorder.discard()
        raise
    captured = recorder.take(model, batch, predictor.datamodule.display_inputs, "given", 0)  # type: ignore[arg-type]
    assert captured is not None
    return captured


def _attribute(
    predictor: Predictor, batch: Batch, methods: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    if not isinstance(predictor.model, Classifier):
        raise InputError("Attributions need the model of a training run; leave --method out.")
    from attention_atlas.analysis.attributions import attribute  # captum and torchvision are slow
    from attention_atlas.analysis.faithfulness.removal import build_removal

    removal = build_removal(
        predictor.datamodule, "silence" if predictor.modality == "audio" else None
    )
    layout = predictor.model.token_layout(batch)
    found = attribute(predictor.model, batch, methods, reference=removal.all(batch, layout))
    return {
        name: {
            method: values[index][layout.valid[index]].tolist() for method, values in found.items()
        }
        for index, name in enumerate(batch["sample_id"])
    }
