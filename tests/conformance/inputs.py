"""Inputs for tiny models, by the names of what their `forward` takes."""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

Inputs = dict[str, Any]
TOKENS = 10


def attention_mask(padding: str, tokens: int = TOKENS) -> Tensor:
    """Three texts, two of which are padded at one side."""
    valid = torch.ones(3, tokens, dtype=torch.long)
    for row, size in ((1, 3), (2, 6)):
        if padding == "right":
            valid[row, -size:] = 0
        elif padding == "left":
            valid[row, :size] = 0
    return valid


def is_of_text(model: nn.Module) -> bool:
    """Whether a model takes tokens and a mask of padding."""
    return {"input_ids", "attention_mask"} <= set(inspect.signature(model.forward).parameters)


def texts(model: PreTrainedModel, padding: str) -> Inputs:
    """Texts, and what stands beside them."""
    takes = inspect.signature(model.forward).parameters
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 30, (3, TOKENS), generator=generator)
    made: Inputs = {"input_ids": ids}
    if "attention_mask" in takes:
        made["attention_mask"] = attention_mask(padding)
    if "decoder_input_ids" in takes:
        made["decoder_input_ids"] = torch.randint(5, 30, (3, 5), generator=generator)
    if "bbox" in takes:
        corners = torch.randint(0, 30, (3, TOKENS, 2), generator=generator)
        made["bbox"] = torch.cat([corners, corners + 5], -1)
    if "langs" in takes:
        made["langs"] = torch.zeros_like(ids)
    return made


def _sizes(config: PreTrainedConfig, *names: str) -> list[Any]:
    """Return the values of fields of a config and of those in it."""
    found = [getattr(config, name) for name in names if getattr(config, name, None) is not None]
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            found += _sizes(value, *names)
    return found


def _images(model: PreTrainedModel) -> Iterator[Tensor]:
    config = model.config
    channels = (_sizes(config, "num_channels", "in_channels", "in_chans") or [3])[0]
    channels = channels if isinstance(channels, int) else 3
    size = (_sizes(config, "image_size", "img_size") or [32])[0]
    sides = [tuple(size) if isinstance(size, list | tuple) else (size, size), (64, 64), (224, 224)]
    frames = (_sizes(config, "num_frames", "frames_per_clip") or [2])[0]
    for height, width in dict.fromkeys(sides):
        if max(height, width) <= 256:
            yield torch.randn(3, channels, height, width)
            yield torch.randn(3, frames, channels, height, width)


def _patches(model: PreTrainedModel) -> Iterator[Inputs]:
    """Images cut into patches, and how many there are along each axis."""
    takes = inspect.signature(model.forward).parameters
    grid = next((name for name in takes if name.endswith("grid_thw")), None)
    config = getattr(model.config, "vision_config", None) or model.config
    patch = getattr(config, "patch_size", 8)
    frames = getattr(config, "temporal_patch_size", 1)
    channels = (_sizes(config, "num_channels", "in_channels", "in_chans") or [3])[0]
    rows = torch.randn(32, channels * frames * patch * patch) if isinstance(patch, int) else None
    if grid is not None and rows is not None:
        name = "hidden_states" if "hidden_states" in takes else "pixel_values"
        yield {name: rows, grid: torch.tensor([[1, 4, 4], [1, 4, 4]])}
    if "pixel_attention_mask" in takes:
        flat = torch.randn(2, 16, channels * patch * patch)
        mask = torch.ones(2, 16, dtype=torch.long)
        shapes = torch.tensor([[4, 4], [4, 4]])
        images: Inputs = {"pixel_values": flat, "pixel_attention_mask": mask}
        yield {**images, "spatial_shapes": shapes}
        yield (
            {**texts(model, "no"), **images, "spatial_shapes": shapes}
            if "input_ids" in takes
            else images
        )


def _sounds(model: PreTrainedModel) -> Iterator[Tensor]:
    bands = _sizes(model.config, "num_mel_bins", "feature_size", "n_mels", "input_dim") or [80]
    places = (_sizes(model.config, "max_source_positions", "max_length") or [64])[0]
    frames = places if isinstance(places, int) and places <= 2048 else 64
    for width in dict.fromkeys([bands[0], 32]):
        for length in dict.fromkeys([2 * frames, frames, 128, 200]):
            yield torch.randn(2, width, length)
            yield torch.randn(2, length, width)
    for length in (3200, 16000):
        yield torch.randn(2, length)
        yield torch.randn(2, 1, length)


def candidates(model: PreTrainedModel, padding: str) -> Iterator[Inputs]:
    """Yield inputs that a model may take; those that hold most first."""
    takes = inspect.signature(model.forward).parameters
    for inputs in _candidates(model, padding):
        sound = next(
            (v for n, v in inputs.items() if n.startswith("input_") and v.dim() == 3), None
        )
        first = next(iter(inputs.values()))
        extras: Inputs = {
            "qformer_input_ids": torch.randint(5, 30, (len(first), 4)),
            "visual_feats": torch.randn(len(first), 4, getattr(model.config, "visual_feat_dim", 1)),
            "visual_pos": torch.rand(len(first), 4, 4),
            "merge_sizes": torch.ones(2, dtype=torch.long),
        }
        if sound is not None:
            for size in (sound.shape[1], sound.shape[2]):
                extras["input_features_mask"] = torch.ones(len(sound), size, dtype=torch.long)
                yield {**inputs, **{n: v for n, v in extras.items() if n in takes}}
        yield {**inputs, **{name: value for name, value in extras.items() if name in takes}}


def _candidates(model: PreTrainedModel, padding: str) -> Iterator[Inputs]:
    takes = inspect.signature(model.forward).parameters
    main = model.main_input_name
    text: Inputs = texts(model, padding) if "input_ids" in takes else {}
    others: Inputs = {}
    if not text and "decoder_input_ids" in takes:
        others = {"decoder_input_ids": torch.randint(5, 30, (2, 5))}
    torch.manual_seed(4)
    if "pixel_values" in takes or main.startswith("pixel"):
        name = "pixel_values" if "pixel_values" in takes else main
        for images in _images(model):
            yield {**text, name: images}
    if main in ("input_values", "input_features", "audio_values") or "input_features" in takes:
        name = main if main in takes and main != "input_ids" else "input_features"
        for sound in _sounds(model):
            yield {**{n: v[:2] for n, v in text.items()}, **others, name: sound}
            if "decoder_input_ids" in takes and others:
                mask = torch.ones(sound.shape[0], sound.shape[-1], dtype=torch.long)
                yield {**others, name: sound, "attention_mask": mask}
    yield from _patches(model)
    if text:
        yield text
    if "inputs_embeds" in takes:
        width = (_sizes(model.config, "hidden_size", "d_model") or [32])[0]
        yield {"inputs_embeds": torch.randn(3, TOKENS, width)}
    if "hidden_states" in takes:
        width = (_sizes(model.config, "hidden_size", "d_model") or [32])[0]
        yield {"hidden_states": torch.randn(3, TOKENS, width)}
    if main == "inputs":
        yield {
            "inputs": torch.randint(5, 30, (3, TOKENS)),
            "attention_mask": attention_mask(padding),
        }
