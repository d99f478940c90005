"""Build the inputs of a pretrained model, and find where its tokens lie in the input."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from attention_atlas.encoder.audio_token_boxes import audio_token_boxes
from attention_atlas.encoder.model_inputs import BoxInputs, ModelInputs, TextInputs
from attention_atlas.encoder.tokens import Batch, LayoutKind, grid_boxes
from attention_atlas.errors import InputError, counted
from attention_atlas.pretrained.backbone import Backbone

DISTILLED = ("deit", "audio-spectrogram-transformer")
"""Model types with a distillation token (Touvron 2021)."""


def build_inputs(
    model: PreTrainedModel, modality: str, example: Batch, seconds: float = math.inf
) -> tuple[Backbone, ModelInputs]:
    """Cut a model before its first block, and build what makes its arguments.

    Args:
        model: An encoder, wired for recording.
        modality: `text`, `image` or `audio`.
        example: A prepared batch of one sample.
        seconds: Length of a clip of sound, in seconds.

    Raises:
        InputError: The model does not take such inputs, or the position of its tokens is unknown.
    """
    text = TextInputs()
    if modality == "text":
        return _backbone(model, text(example)), text
    name, values = model.main_input_name, example["inputs"]
    backbone = _backbone(model, {name: values})
    if modality == "image":
        boxes = _patches(model.config, values)
    else:
        boxes = audio_token_boxes(model.config, values, seconds)
    special = backbone.num_tokens - len(boxes)
    if special < 0:
        raise InputError(
            f"{type(model).__name__} gives {counted(backbone.num_tokens, 'token')}, fewer than the "
            f"{len(boxes)} boxes of its input; where they lie is not known."
        )
    if modality == "image":
        _check_order(backbone, {name: values}, boxes)
    no_box = torch.full((special, 4), torch.nan)
    kind: LayoutKind = "patch_box" if modality == "image" else "time_frequency_box"
    names = _leading_tokens(model.config, special)
    shape = tuple(values.shape[1:])
    return backbone, BoxInputs(name, shape, kind, torch.cat([no_box, boxes]), names)


def has_cls(backbone: Backbone, inputs: ModelInputs, example: Batch) -> bool:
    """Whether the first token stands for no part of the input, and attends to the others."""
    first = inputs.layout(example).boxes[0, 0]
    is_text = inputs.layout_kind == "character_span"
    is_special = first[0] == first[1] if is_text else first.isnan().any()
    return bool(is_special) and backbone.first_sees_others


def _backbone(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Backbone:
    try:
        return Backbone(model, inputs)
    except InputError:
        raise
    except Exception as error:  # each model raises its own errors
        reason = " ".join(str(error).split()) or type(error).__name__
        wrong_call = isinstance(error, (TypeError, ValueError))
        if wrong_call and model.main_input_name not in inputs:
            reason = f"it takes {model.main_input_name}, and was given {', '.join(inputs)}"
        raise InputError(
            f"{type(model).__name__} cannot run on this data: {reason.rstrip('.')}."
        ) from error


def _leading_tokens(config: Any, count: int) -> list[str]:
    """Return names of the tokens before those of the input; empty if they are unknown.

    The class token comes first, then that of distillation (Touvron 2021), then registers (Darcet
    2024).
    """
    names = ["[CLS]", *(["[DIST]"] if config.model_type in DISTILLED else [])]
    names += [f"[REG{number}]" for number in range(getattr(config, "num_register_tokens", 0))]
    return names if len(names) == count else []


def _check_order(backbone: Backbone, inputs: dict[str, Tensor], boxes: Tensor) -> None:
    """Check that patches come last and in order: change one, and find the token that changes."""
    ((name, images),) = inputs.items()
    for index in (0, len(boxes) - 1):
        top, left, bottom, right = boxes[index].tolist()
        changed = images.clone()
        changed[..., top:bottom, left:right] += 1
        with torch.no_grad():
            moved = backbone.embed({name: changed}) - backbone.embed(inputs)
        if moved[0].abs().amax(dim=-1).argmax() != backbone.num_tokens - len(boxes) + index:
            raise InputError(
                f"{type(backbone.model).__name__} has other tokens behind its patches, or patches "
                "in another order; where they lie is not known."
            )


def _patches(config: Any, images: Tensor) -> Tensor:
    """Return top, left, bottom, right of each patch in pixels, row by row: [K, 4]."""
    size = getattr(config, "patch_size", None)
    if not isinstance(size, int):
        raise InputError(f"{config.model_type} models have no patches of one size.")
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    return grid_boxes(size * torch.arange(rows + 1), size * torch.arange(columns + 1))
