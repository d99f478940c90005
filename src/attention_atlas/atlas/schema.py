"""Schema of an atlas: its version, the attributes of the root, and every array of a rank group.

Writer and reader both use the tables here; `docs/atlas-format.md` describes the same.
Letters of shapes: L layers, H heads, R heads of the readout, Q queries, K keys, C classes.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePath
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.locations import Location
from attention_atlas.errors import InputError

SCHEMA_VERSION = 1
MAX_METADATA_BYTES = 2**26
MAX_INTEGER = 2**63  # so that a float holds it, and numpy
MAP_DTYPES = ("float16", "float32")
METADATA = "zarr.json"

# No committed row has this length, so a chunk of `length` that was never written reads as "nothing
# committed": that is what makes it the commit mark.
NOT_COMMITTED = -1


@dataclass(frozen=True)
class ArraySpec:
    """One array of a rank group: its dimensions, type, fill value, and what its numbers are."""

    dimensions: tuple[str, ...]
    dtype: str
    fill_value: float | str | bool
    meaning: str


@dataclass(frozen=True)
class TokenLayout:
    """Part of the input that a token represents, and the array that holds the input."""

    input_name: str
    box_names: tuple[str, ...]
    box_dtype: str


TOKEN_LAYOUTS = {
    "character_span": TokenLayout("text", ("start", "end"), "int32"),
    "patch_box": TokenLayout("image", ("top", "left", "bottom", "right"), "float32"),
    "time_frequency_box": TokenLayout(
        "spectrogram", ("start_s", "low_hz", "end_s", "high_hz"), "float32"
    ),
}

# Dimensions along which samples of one atlas may differ in size; shorter ones are padded with 0.
RAGGED_DIMENSIONS = ("query", "key", "frame")
GROWING_DIMENSIONS = ("sample", *RAGGED_DIMENSIONS)

# The two arrays that are written last, in this order; the second is the commit mark.
COMMIT_ARRAYS = ("sample_id", "length")

_NAN = float("nan")
_COMMON_ARRAYS = {
    "epoch": ArraySpec(("sample",), "int32", -1, "epoch in which the row was recorded, from 0"),
    "split": ArraySpec(("sample",), "str", "", "split that the sample belongs to"),
    "label": ArraySpec(("sample",), "int32", -1, "true class, an index into the classes"),
    "prediction": ArraySpec(("sample",), "int32", -1, "predicted class, an index into the classes"),
    "logits": ArraySpec(("sample", "class"), "float32", _NAN, "scores before softmax or sigmoid"),
    "groups": ArraySpec(("sample",), "str", "", "JSON object: names of the groups it belongs to"),
    "readout": ArraySpec(
        ("sample", "readout_head", "key"), "float32", _NAN, "weights of the readout's query"
    ),
    "readout_entropy": ArraySpec(
        ("sample", "readout_head"), "float32", _NAN, "entropy of the readout row, in nats"
    ),
    "entropy": ArraySpec(
        ("sample", "layer", "head"), "float32", _NAN, "entropy, mean over the queries, in nats"
    ),
    "has_maps": ArraySpec(("sample",), "bool", False, "whether the full maps are stored"),
    "sample_id": ArraySpec(("sample",), "str", "", "stable name of the sample"),
    "length": ArraySpec(
        ("sample",), "int32", NOT_COMMITTED, "number of tokens K; -1 where no sample is committed"
    ),
}


# Only in atlases of mechanisms with a null key.
NULL_KEY_ARRAYS = {
    "null_share": ArraySpec(
        ("sample", "layer", "head"),
        "float32",
        _NAN,
        "weight of the null key, mean over the queries",
    ),
    "readout_null_share": ArraySpec(
        ("sample", "readout_head"), "float32", _NAN, "weight of the null key in the readout row"
    ),
}


def array_specs(
    attributes: "AtlasAttributes", maps_dtype: str, spectrogram_dtype: str = "float32"
) -> dict[str, ArraySpec]:
    """Return every array of a rank group of such an atlas, by name."""
    layout = TOKEN_LAYOUTS[attributes.token_layout]
    specs = dict(_COMMON_ARRAYS)
    if attributes.has_null_key:
        specs |= NULL_KEY_ARRAYS
    specs["boxes"] = ArraySpec(
        ("sample", "key", "box"), layout.box_dtype, 0, "part of the input that a token represents"
    )
    specs["maps"] = ArraySpec(
        ("sample", "layer", "head", "query", "key"),
        maps_dtype,
        _NAN,
        _meaning_of_maps(attributes),
    )
    if layout.input_name == "text":
        specs["text"] = ArraySpec(("sample",), "str", "", "the text")
    elif layout.input_name == "image":
        specs["image"] = ArraySpec(
            ("sample", "height", "width", "channel"), "uint8", 0, "the image, 1 or 3 channels"
        )
    else:
        specs["spectrogram"] = ArraySpec(
            ("sample", "mel", "frame"), spectrogram_dtype, _NAN, "log-mel energies"
        )
        specs["frames"] = ArraySpec(("sample",), "int32", 0, "number of frames of the spectrogram")
    return specs


def _meaning_of_maps(attributes: "AtlasAttributes") -> str:
    if attributes.signed:
        return "attention weights, which may be negative; a row sums to 1 - lambda"
    if attributes.has_null_key:
        return "attention weights; a row sums to 1 minus the weight of the null key"
    return "attention weights; a row sums to 1"


@dataclass(frozen=True)
class AtlasAttributes:
    """Attributes of the root of an atlas, which apply to every sample.

    Attributes:
        task: `nlp`, `vision` or `speech`.
        data: Name of the data set.
        classes: Class names, in the order of the logits.
        token_layout: `character_span`, `patch_box` or `time_frequency_box`.
        layers: Names of the L attention layers, in the order of the layers of the maps.
        mechanism: The score and its options, such as `{"score": "dot", "null_key": True}`.
        config: The whole composed config.
        checkpoint_digest: SHA-256 of the checkpoint that was recorded, if there is one.
        versions: Versions of the libraries that made the atlas.
        mel_frequencies: Centre of each mel band in hertz; for spectrograms only.
        frame_seconds: Seconds from one frame to the next; for spectrograms only.
        signed: Whether weights may be negative, as those of differential attention. The entropy
            is then of abs(A) / sum abs(A).
        leading_tokens: Names of the first tokens of each sample, which represent no part of
            the input, such as [CLS]; empty if there are no such tokens, or their names are not
            known.
        trailing_tokens: The same of the last tokens, such as [SEP].
        multi_label: Whether a sample may have several classes: the probability of each is the
            sigmoid of its logit, and those above 0.5 are predicted.
    """

    task: str
    data: str
    classes: list[str]
    token_layout: str
    layers: list[str]
    mechanism: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    checkpoint_digest: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    mel_frequencies: list[float] | None = None
    frame_seconds: float | None = None
    signed: bool = False
    leading_tokens: list[str] = field(default_factory=list)
    trailing_tokens: list[str] = field(default_factory=list)
    multi_label: bool = False

    def __post_init__(self) -> None:
        if self.token_layout not in TOKEN_LAYOUTS:
            raise ValueError(
                f"Unknown token layout {self.token_layout!r}: use one of {list(TOKEN_LAYOUTS)}."
            )
        draws_sound = self.token_layout == "time_frequency_box"
        if draws_sound and (self.mel_frequencies is None or self.frame_seconds is None):
            raise ValueError("A time-frequency layout needs mel_frequencies and frame_seconds.")

    @property
    def has_null_key(self) -> bool:
        """Whether each row has a null key, whose weight is stored beside the maps."""
        return bool(self.mechanism.get("null_key", False))

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as plain JSON values, the schema version first."""
        return {"schema_version": SCHEMA_VERSION, **plain_json(asdict(self))}


def check_types(kind: type, values: Mapping[str, Any]) -> None:
    """Check JSON values against the annotations of a dataclass.

    Raises:
        ValueError: One is of another type.
    """
    for name, hint in get_type_hints(kind).items():
        if name in values and not _has_type(values[name], hint):
            raise ValueError(f"its attribute {name} is not {_describe_type(hint)}.")


def _has_type(value: Any, hint: Any) -> bool:
    """Whether a value has the type of an annotation; an integer is a float too."""
    arguments = get_args(hint)
    if hint is Any:
        return True
    if isinstance(hint, UnionType):
        return any(_has_type(value, each) for each in arguments)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_has_type(item, arguments[0]) for item in value)
    if get_origin(hint) is dict:
        pairs = value.items() if isinstance(value, dict) else [(None, None)]
        return all(isinstance(key, str) and _has_type(item, arguments[1]) for key, item in pairs)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < MAX_INTEGER)
    return isinstance(value, hint)


def _describe_type(hint: Any) -> str:
    if isinstance(hint, UnionType):
        return " or ".join(_describe_type(each) for each in get_args(hint))
    names = {str: "text", float: "a number", bool: "true or false", type(None): "null"}
    names[int] = "an integer"
    if hint in names:
        return names[hint]
    if get_origin(hint) is dict:
        return "an object"
    return "a list of " + {str: "texts", float: "numbers"}.get(get_args(hint)[0], "values")


def parse_metadata(content: bytes | None) -> Any:
    """Return the values of the metadata of a group or an array.

    Raises:
        ValueError: It is missing, larger than any that is written, or not JSON.
    """
    if len(content or b"") > MAX_METADATA_BYTES:
        raise ValueError(f"it is larger than {MAX_METADATA_BYTES} bytes")
    try:
        return json.loads(content or b"")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_root(location: Location, content: bytes | None) -> AtlasAttributes:
    """Return the attributes of an atlas from the metadata of its root.

    Raises:
        InputError: It is not an atlas, or was written by a newer version.
    """
    try:
        root = parse_metadata(content)
        if root["zarr_format"] != 3 or root["node_type"] != "group":
            raise ValueError
        attributes = root.get("attributes", {})
        found = attributes.get("schema_version")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{location} is not an atlas: its {METADATA} is not a Zarr v3 group."
        ) from error
    if not isinstance(found, int):
        raise InputError(f"{location} is not an atlas: its attributes have no schema_version.")
    if found > SCHEMA_VERSION:
        raise InputError(
            f"The atlas {location} has schema version {found} and this program knows up to "
            f"{SCHEMA_VERSION}: update attention-atlas."
        )
    known = {entry.name for entry in fields(AtlasAttributes)}
    try:
        check_types(AtlasAttributes, attributes)
        return AtlasAttributes(**{k: v for k, v in attributes.items() if k in known})
    except (TypeError, ValueError) as error:
        raise InputError(f"The atlas {location} is incomplete: {error}") from error


@dataclass
class CapturedSample:
    """One recorded sample, ready to be written.

    Attributes:
        sample_id: Stable name of the sample, the same in every epoch and run.
        label: True class.
        prediction: Predicted class.
        logits: [C].
        boxes: [K, 2] character spans or [K, 4] patch or time-frequency boxes; K is the number of
            valid tokens. NaN where a token represents no part of the input.
        readout: [R, K] weights of the readout's query; R = 0 for a readout without attention.
        readout_entropy: [R], in nats.
        entropy: [L, H] entropy in nats, mean over the queries.
        null_share: [L, H] weight of the null key, mean over the queries; only with a null key, as
            `readout_null_share`. Rows of the maps and of the readout sum to 1 minus it.
        readout_null_share: [R] weight of the null key in the readout row.
        maps: [L, H, K, K] attention weights, or None if only the readout row is stored.
        text: For character spans.
        image: uint8 [height, width, channels], for patch boxes.
        spectrogram: float16 or float32 [mels, frames], for time-frequency boxes.
        split: Such as `test`.
        epoch: From 0.
        groups: Names of the groups it belongs to, such as `{"source": "imdb"}`.
    """

    sample_id: str
    label: int
    prediction: int
    logits: npt.NDArray[Any]
    boxes: npt.NDArray[Any]
    readout: npt.NDArray[Any]
    readout_entropy: npt.NDArray[Any]
    entropy: npt.NDArray[Any]
    null_share: npt.NDArray[Any] | None = None
    readout_null_share: npt.NDArray[Any] | None = None
    maps: npt.NDArray[Any] | None = None
    text: str | None = None
    image: npt.NDArray[Any] | None = None
    spectrogram: npt.NDArray[Any] | None = None
    split: str = "test"
    epoch: int = 0
    groups: dict[str, str] = field(default_factory=dict)


def plain_json(value: Any, nan_as_null: bool = False) -> Any:
    """Return the value as plain JSON types; anything else becomes its text.

    Infinity and NaN are not JSON numbers, so they become the texts `Infinity` and `NaN`, or null.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        if nan_as_null:
            return None
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(key): plain_json(item, nan_as_null) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(item, nan_as_null) for item in value]
    if isinstance(value, PurePath):
        return value.as_posix()
    return str(value)
