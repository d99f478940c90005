"""A batch of samples as columns, ready to be copied into the chunks of an atlas."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.schema import (
    MAP_DTYPES,
    NULL_KEY_ARRAYS,
    TOKEN_LAYOUTS,
    AtlasAttributes,
    CapturedSample,
    array_specs,
)

Array = npt.NDArray[Any]


@dataclass
class CapturedBatch:
    """N recorded samples of a split in an epoch, one column for each array of the atlas.

    A column holds the attribute of `CapturedSample` with its name, behind an axis of N samples. K
    is the number of tokens of the longest sample. The valid tokens of a sample come first; the
    padding after them is not stored.

    Attributes:
        length: [N] number of valid tokens.
        maps: [L, H, length, length] attention weights of the samples whose maps are stored, by
            index in the batch.
        frames: [N] number of valid frames of the spectrogram; by default all.
        groups: Names of the groups that the samples belong to: group -> one name per sample.
    """

    sample_id: Sequence[str]
    label: Array
    prediction: Array
    logits: Array
    length: Array
    boxes: Array
    readout: Array
    readout_entropy: Array
    entropy: Array
    null_share: Array | None = None
    readout_null_share: Array | None = None
    maps: Mapping[int, Array] = field(default_factory=dict)
    text: Sequence[str] | None = None
    image: Array | None = None
    spectrogram: Array | None = None
    frames: Array | None = None
    split: str = "test"
    epoch: int = 0
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sample_id)

    @classmethod
    def of(cls, sample: CapturedSample) -> Self:
        """Return a batch of one sample, with a copy of its maps."""
        arrays: dict[str, Any] = {
            name: value[None]
            for name, value in vars(sample).items()
            if isinstance(value, np.ndarray) and name != "maps"
        }
        return cls(
            sample_id=[sample.sample_id],
            label=np.array([sample.label]),
            prediction=np.array([sample.prediction]),
            length=np.array([len(sample.boxes)]),
            maps={} if sample.maps is None else {0: sample.maps.copy()},
            text=None if sample.text is None else [sample.text],
            split=sample.split,
            epoch=sample.epoch,
            groups={name: [value] for name, value in sample.groups.items()},
            **arrays,
        )

    def sizes(self, attributes: AtlasAttributes) -> dict[str, int]:
        """Return the size along every dimension but `sample`."""
        sizes = {
            "class": len(attributes.classes),
            "layer": len(attributes.layers),
            "head": self.entropy.shape[2],
            "readout_head": self.readout.shape[1],
            "query": self.boxes.shape[1],
            "key": self.boxes.shape[1],
            "box": self.boxes.shape[2],
        }
        if self.image is not None:
            sizes.update(zip(("height", "width", "channel"), self.image.shape[1:], strict=True))
        if self.spectrogram is not None:
            sizes.update(zip(("mel", "frame"), self.spectrogram.shape[1:], strict=True))
        return sizes

    def column(self, name: str) -> Array:
        """Return the values of the N samples for the array of this name."""
        if name == "epoch":
            return np.full(len(self), self.epoch)
        if name == "split":
            return _texts([self.split] * len(self))
        if name == "groups":
            return _texts(self._groups())
        if name == "has_maps":
            return np.isin(np.arange(len(self)), list(self.maps))
        if name == "frames" and self.frames is None:
            assert self.spectrogram is not None
            return np.full(len(self), self.spectrogram.shape[2])
        if name == "boxes" and self.boxes.shape[2] == 2:
            # NaN marks a token that represents no part of the input; an integer span is empty.
            return np.nan_to_num(self.boxes, nan=0.0)
        values = getattr(self, name)
        return values if isinstance(values, np.ndarray) else _texts(values)

    def _groups(self) -> list[str]:
        names = list(self.groups)
        rows = list(zip(*self.groups.values(), strict=True)) or [()] * len(self)
        encoded = {
            values: json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False)
            for values in set(rows)  # few differ
        }
        return [encoded[values] for values in rows]

    def check(self, attributes: AtlasAttributes, sizes: Mapping[str, int]) -> None:
        """Check that the samples fit together, the attributes and these sizes.

        Raises:
            ValueError: They do not.
        """
        if not len(self):
            return
        who = f"Sample {self.sample_id[0]!r}"
        input_name = TOKEN_LAYOUTS[attributes.token_layout].input_name
        if not all(self.sample_id):
            raise ValueError("A sample needs a sample_id that is not empty.")
        if self.epoch < 0:
            raise ValueError(f"{who}: epochs count from 0.")
        if getattr(self, input_name) is None:
            raise ValueError(f"{who} has no {input_name}.")
        for name in NULL_KEY_ARRAYS:
            if (getattr(self, name) is not None) != attributes.has_null_key:
                has, with_ = ("no", "with") if attributes.has_null_key else ("a", "without")
                raise ValueError(
                    f"{who} has {has} {name}, but the atlas is of a mechanism {with_} a null key."
                )
        for name, shape in self._expected(attributes, sizes).items():
            values = getattr(self, name)
            if values is not None and np.shape(values) != (len(self), *shape):
                raise ValueError(
                    f"{who}: {name} has shape {np.shape(values)[1:]}, the atlas expects {shape}."
                )
        for index, maps in self.maps.items():
            shape = (sizes["layer"], sizes["head"], self.length[index], self.length[index])
            if maps.shape != shape:
                raise ValueError(
                    f"Sample {self.sample_id[index]!r}: maps has shape {maps.shape}, the atlas "
                    f"expects {tuple(map(int, shape))}."
                )

    def _expected(
        self, attributes: AtlasAttributes, sizes: Mapping[str, int]
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of each column, without the axis of the samples."""
        layout = TOKEN_LAYOUTS[attributes.token_layout]
        sizes = {**sizes, "key": self.boxes.shape[1], "box": len(layout.box_names)}
        if self.spectrogram is not None:
            sizes["frame"] = self.spectrogram.shape[2]
        return {
            name: tuple(sizes.get(dimension, 0) for dimension in spec.dimensions[1:])
            for name, spec in array_specs(attributes, MAP_DTYPES[0]).items()
            if name not in ("epoch", "split", "groups", "maps", "has_maps")  # not columns here
        }


def _texts(values: Sequence[str]) -> Array:
    """Return texts as objects, with `?` for each lone surrogate, so that spans stay valid."""
    texts = np.empty(len(values), dtype=object)
    texts[:] = [value.encode("utf-8", "replace").decode("utf-8") for value in values]
    return texts
