"""One committed sample of an atlas, whose arrays are read on access."""

import json
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.schema import TOKEN_LAYOUTS, AtlasAttributes
from attention_atlas.atlas.storage.group_reader import GroupReader
from attention_atlas.errors import InputError


class Sample:
    """One committed sample; arrays are read on access and trimmed to its length.

    Letters of shapes: L layers, H heads, R heads of the readout, Q queries, K keys, C classes.

    Every property raises `InputError` if the part of the atlas that holds it is damaged.
    """

    def __init__(self, attributes: AtlasAttributes, rank: GroupReader, row: int) -> None:
        self._attributes = attributes
        self._rank = rank
        self._row = row
        self.sample_id = rank.sample_ids[row]
        self.length = int(rank.lengths[row])
        self.epoch = int(rank.epochs[row])

    def __repr__(self) -> str:
        return f"Sample({self.sample_id!r}, epoch={self.epoch}, length={self.length})"

    def _read(self, name: str) -> Any:
        return self._rank.read(name, self._row)

    @property
    def split(self) -> str:
        """Split that the sample belongs to."""
        return str(self._read("split"))

    @property
    def groups(self) -> dict[str, str]:
        """Groups that it belongs to, such as `{"source": "imdb"}`."""
        content = self._read("groups")
        try:
            groups = json.loads(content)
            return {str(name): str(group) for name, group in groups.items()}
        except (ValueError, AttributeError, RecursionError) as error:
            raise self._rank.damage(f"the groups of {self.sample_id!r} cannot be read") from error

    @property
    def label(self) -> int:
        """True class; -1 if it is not known."""
        return int(self._read("label"))

    @property
    def prediction(self) -> int:
        """Predicted class, the most probable one; -1 if the model predicts none."""
        return int(self._read("prediction"))

    @property
    def predictions(self) -> list[int]:
        """All predicted classes: those above 0.5 if there may be several, else at most one."""
        if self._attributes.multi_label:
            return [int(index) for index in np.flatnonzero(self.probabilities > 0.5)]
        return [self.prediction] if self.prediction >= 0 else []

    @property
    def label_name(self) -> str:
        """Name of the true class."""
        return _name(self._attributes.classes, self.label, "not labelled")

    @property
    def prediction_name(self) -> str:
        """Name of the predicted class, or names of all."""
        if self._attributes.multi_label and not self.predictions:
            return "no class"
        names = [_name(self._attributes.classes, index, "") for index in self.predictions]
        return ", ".join(names) or "not predicted"

    @property
    def verdict(self) -> str:
        """Label and prediction as text, such as `label good, predicted bad`."""
        known = [f"label {self.label_name}"] if self.label >= 0 else ["no label"]
        known += [f"predicted {self.prediction_name}"] if self.prediction >= 0 else []
        return ", ".join(known)

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """[C] scores before the softmax or sigmoid."""
        return self._array("logits")

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """[C] softmax of the logits; their sigmoid if a sample may have several classes."""
        logits = self.logits.astype(np.float64)
        if self._attributes.multi_label:
            sigmoid: npt.NDArray[np.float64] = 0.5 + 0.5 * np.tanh(logits / 2)
            return sigmoid
        unscaled = np.exp(logits - logits.max(initial=-np.inf))
        probabilities: npt.NDArray[np.float64] = unscaled / unscaled.sum()
        return probabilities

    @property
    def boxes(self) -> npt.NDArray[Any]:
        """[K, 2] character spans, or [K, 4] patch or time-frequency boxes."""
        return self._array("boxes")

    @property
    def readout(self) -> npt.NDArray[np.float32]:
        """[R, K] weights of the readout's query.

        Raises:
            InputError: If one of them is NaN or infinite.
        """
        readout = self._array("readout")
        if not np.isfinite(readout).all():
            raise InputError(f"Sample {self.sample_id!r} has a readout row that holds no weights.")
        return readout

    @property
    def readout_entropy(self) -> npt.NDArray[np.float32]:
        """[R] entropy of the readout row, in nats."""
        return self._array("readout_entropy")

    @property
    def entropy(self) -> npt.NDArray[np.float32]:
        """[L, H] entropy in nats, mean over the queries."""
        return self._array("entropy")

    @property
    def null_share(self) -> npt.NDArray[np.float32] | None:
        """[L, H] weight of the null key, mean over the queries; None without a null key."""
        return self._array("null_share") if self._attributes.has_null_key else None

    @property
    def readout_null_share(self) -> npt.NDArray[np.float32] | None:
        """[R] weight of the null key in the readout row; None without a null key."""
        return self._array("readout_null_share") if self._attributes.has_null_key else None

    @property
    def signed(self) -> bool:
        """Whether its weights may be negative."""
        return self._attributes.signed

    @property
    def has_maps(self) -> bool:
        """Whether its full maps are stored."""
        return bool(self._read("has_maps"))

    @cached_property
    def maps(self) -> npt.NDArray[Any]:
        """[L, H, Q, K] attention weights, as float16 or float32.

        A row sums to 1; with a null key to 1 minus its weight. If `signed`, weights may be
        negative and a row sums to 1 - lambda of its layer (differential attention).

        Raises:
            InputError: If only its readout row is stored.
        """
        return self.read_maps()

    def read_maps(self) -> npt.NDArray[Any]:
        """Read the maps [L, H, Q, K] from the store, without caching them."""
        if not self.has_maps:
            raise InputError(
                f"Sample {self.sample_id!r} has only its readout row stored, no full maps: choose "
                "one of Atlas.mapped_sample_ids, or record with capture=full."
            )
        return self._array("maps")

    def view_maps(self) -> npt.NDArray[Any]:
        """Read the maps [L, H, Q, K] of a sample that has them, for reading only."""
        maps: npt.NDArray[Any] = self._read("maps")
        return maps

    @property
    def num_map_bytes(self) -> int:
        """Bytes that its full maps take in memory, whether they are stored or not."""
        array = self._rank.array("maps")
        if array is None:
            return 0
        layers, heads = array.shape[1:3]
        return layers * heads * self.length**2 * array.dtype.itemsize

    @property
    def text(self) -> str:
        """The text; only for character spans."""
        self._must_draw("text")
        return str(self._read("text"))

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """[height, width, channels]; only for patch boxes."""
        self._must_draw("image")
        return self._array("image")

    @property
    def spectrogram(self) -> npt.NDArray[Any]:
        """[mels, frames] log-mel energies; only for time-frequency boxes."""
        self._must_draw("spectrogram")
        return self._array("spectrogram")

    @property
    def tokens(self) -> list[str]:
        """Description of each of the K tokens: the text of its span, or its box.

        A token that represents no part of the input has its name, such as [CLS], or the empty
        string if its name is not known.
        """
        attributes, boxes = self._attributes, self.boxes
        if attributes.token_layout == "character_span":
            text = self.text
            tokens = [text[start:end] for start, end in boxes.tolist()]
        else:
            tokens = [
                _describe_box(attributes.token_layout, *box) if is_input else ""
                for box, is_input in zip(boxes.tolist(), stands_in_input(boxes), strict=True)
            ]
        first, last = attributes.leading_tokens, attributes.trailing_tokens
        return [*first, *tokens[len(first) : len(tokens) - len(last)], *last]

    @property
    def stands_in_input(self) -> npt.NDArray[np.bool_]:
        """[K] whether a token represents a part of the input; CLS, SEP and silence do not."""
        return stands_in_input(self.boxes)

    def _must_draw(self, name: str) -> None:
        holds = TOKEN_LAYOUTS[self._attributes.token_layout].input_name
        if holds != name:
            raise InputError(
                f"The atlas {self._rank.location} holds no {name}: it holds the {holds}."
            )

    def _array(self, name: str) -> npt.NDArray[Any]:
        """Return a copy, because the next sample is read from the same block."""
        values: npt.NDArray[Any] = self._read(name)
        return values.copy()


def _name(classes: list[str], index: int, unknown: str) -> str:
    if index < 0:
        return unknown
    return classes[index] if index < len(classes) else f"class {index}, which has no name"


def stands_in_input(boxes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which tokens [K] represent a part of the input; a CLS token does not.

    `boxes` [K, 2] or [K, 4] are as stored: NaN or an empty span for no part of the input.
    """
    axes = boxes.shape[1] // 2
    filled: npt.NDArray[np.bool_] = np.all(boxes[:, axes:] > boxes[:, :axes], axis=1)
    return filled


def _describe_box(layout: str, first: float, second: float, third: float, fourth: float) -> str:
    if layout == "patch_box":
        return f"rows {first:g}-{third:g}, columns {second:g}-{fourth:g}"
    return f"{first:.2f}-{third:.2f} s, {second:.0f}-{fourth:.0f} Hz"
