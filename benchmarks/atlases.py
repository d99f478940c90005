"""Atlases of made samples, as large as is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_atlas.atlas import AtlasAttributes, AtlasWriter, CapturedSample

NUM_HEADS = 4
NUM_DIFFERENT_MAPS = 16  # taken in turns: making them takes longer than storing them
IMAGE_SIZE, PATCH_SIZE = 32, 4
LETTERS = 8  # of a word, with the blank behind it


@dataclass(frozen=True)
class Made:
    """What an atlas holds.

    Attributes:
        layout: `character_span` or `patch_box`.
        samples: How many.
        mapped: How many of them, at equal steps, keep their full maps.
        layers: Attention layers.
        tokens: Of each text at most; an image has as many as its patches.
        min_tokens: Of each text.
    """

    layout: str
    samples: int
    mapped: int
    layers: int = 4
    tokens: int = (IMAGE_SIZE // PATCH_SIZE) ** 2
    min_tokens: int = 16

    def write(self, folder: Path) -> Path:
        """Write the run folder and return it."""
        atlas = folder / "atlas.zarr"
        options = {"max_tokens": self.tokens, "num_samples": self.samples}
        with AtlasWriter(atlas, self.attributes(), **options) as writer:
            writer.add(self.each_sample())
        return folder

    def attributes(self) -> AtlasAttributes:
        """What holds for every sample."""
        layers = [f"encoder.layers.{layer}.attention" for layer in range(self.layers)]
        is_text = self.layout == "character_span"
        task = "nlp" if is_text else "vision"
        return AtlasAttributes(
            task, "made", ["no", "yes"], self.layout, layers, {"score": "scaled_dot"}
        )

    def each_sample(self) -> Iterator[CapturedSample]:
        """Make the samples one by one, the same at each call."""
        generator = np.random.default_rng(0)
        every = max(1, self.samples // max(1, self.mapped))
        shape = (NUM_DIFFERENT_MAPS, self.layers, NUM_HEADS, self.tokens, self.tokens)
        maps = _weights(generator, shape) if self.mapped else np.zeros(shape, np.float16)
        for number in range(self.samples):
            drawn = self._text(generator) if self.layout == "character_span" else _image(generator)
            length = len(drawn["boxes"])
            own = None
            if number % every == 0 and number // every < self.mapped:
                own = maps[number // every % NUM_DIFFERENT_MAPS, :, :, :length, :length]
            yield CapturedSample(
                sample_id=f"made-{number:06d}",
                label=number % 2,
                prediction=number % 2,
                logits=generator.normal(size=2),
                readout=_weights(generator, (NUM_HEADS, length)),
                readout_entropy=generator.random(NUM_HEADS),
                entropy=generator.random((self.layers, NUM_HEADS)),
                maps=own,
                **drawn,
            )

    def _text(self, generator: np.random.Generator) -> dict[str, Any]:
        length = int(generator.integers(self.min_tokens, self.tokens + 1))
        starts = np.arange(length) * LETTERS
        words = (f"w{number:06d}" for number in generator.integers(0, 10**6, length).tolist())
        return {"text": " ".join(words), "boxes": np.stack([starts, starts + LETTERS - 1], axis=1)}


def _image(generator: np.random.Generator) -> dict[str, Any]:
    image = generator.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    starts = range(0, IMAGE_SIZE, PATCH_SIZE)
    corners = np.array([(top, left) for top in starts for left in starts], np.float32)
    return {"image": image, "boxes": np.concatenate([corners, corners + PATCH_SIZE], axis=1)}


def _weights(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of a softmax: they compress no better than those of a model."""
    scores = np.exp(generator.normal(size=shape).astype(np.float32))
    return scores / scores.sum(-1, keepdims=True)
