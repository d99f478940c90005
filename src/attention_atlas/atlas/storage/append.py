"""What a rank's group holds when a writer goes on with it."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from attention_atlas.atlas.schema import (
    GROWING_DIMENSIONS,
    METADATA,
    SCHEMA_VERSION,
    ArraySpec,
    AtlasAttributes,
    array_specs,
)
from attention_atlas.atlas.storage.array_reader import StoredArray
from attention_atlas.atlas.storage.codecs import DIGESTS
from attention_atlas.atlas.storage.files import Files
from attention_atlas.atlas.storage.group_reader import Rank
from attention_atlas.atlas.storage.locations import Location
from attention_atlas.errors import InputError

OF_ONE_WRITER = ("config", "checkpoint_digest", "versions", "leading_tokens", "trailing_tokens")
"""Attributes of the root in which writers of one atlas may differ; the last one's are kept."""


@dataclass(frozen=True)
class StoredRank:
    """A group that holds arrays.

    Attributes:
        specs: Of its arrays.
        arrays: As they are stored.
        sizes: Along each dimension; where a killed writer had grown some of the arrays only, the
            smallest.
        steps: Size of the chunks along each dimension.
        rows_per_flush: Rows of a flush.
        last_row: Just behind the last committed one.
        committed: Samples that are.
        digests: Of the arrays, if they were kept.
    """

    specs: Mapping[str, ArraySpec]
    arrays: Mapping[str, StoredArray]
    sizes: Mapping[str, int]
    steps: Mapping[str, int]
    rows_per_flush: int
    last_row: int
    committed: int
    digests: Mapping[str, str]


def check_same(location: Location, files: Files, attributes: AtlasAttributes) -> None:
    """Check that the samples of an atlas are to be read as these attributes say.

    Raises:
        InputError: They are not; it names the attribute.
    """
    (content,) = files.read([METADATA])
    if content is None:
        return
    try:
        found: dict[str, Any] = json.loads(content)["attributes"]
        found["schema_version"] += 0
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{location} cannot be gone on with: its {METADATA} is none of an atlas."
        ) from error
    if found["schema_version"] > SCHEMA_VERSION:
        raise InputError(
            f"The atlas {location} has schema version {found['schema_version']} and this program "
            f"writes {SCHEMA_VERSION}: update attention-atlas."
        )
    wanted = attributes.to_json()
    for field in fields(AtlasAttributes):
        # An attribute that came later is missing in atlases of before, and has its default there.
        stored = found.get(field.name, None if field.default is MISSING else field.default)
        if field.name not in OF_ONE_WRITER and stored != wanted[field.name]:
            raise InputError(
                f"The atlas {location} cannot be gone on with: its {field.name} is "
                f"{stored!r}, and here it is {wanted[field.name]!r}."
            )


def read_rank(
    location: Location, files: Files, name: str, attributes: AtlasAttributes, maps_dtype: str
) -> StoredRank | None:
    """Return what the group of a rank holds; None if it is not there or has no arrays yet.

    Raises:
        InputError: If it is damaged, or its arrays are others than these attributes ask for.
    """
    if files.read([f"{name}/{METADATA}", f"{name}/length/{METADATA}"]).count(None):
        return None  # the array `length` is created last, so nothing was committed without it
    rank = Rank(location, files, name)
    spectrogram = rank.array("spectrogram")
    dtype = "float32" if spectrogram is None else spectrogram.dtype.name
    specs = array_specs(attributes, maps_dtype, dtype)
    arrays = {each: _stored(rank, each, spec) for each, spec in specs.items()}
    sizes: dict[str, int] = {}
    steps: dict[str, int] = {}
    # The chunks of maps are cut smaller, so what they say is taken where no other array says it.
    for array in (arrays["maps"], *(array for each, array in arrays.items() if each != "maps")):
        for dimension, size, step in zip(array.dimensions, array.shape, array.chunks, strict=True):
            known = sizes.get(dimension, size)
            sizes[dimension] = min(known, size) if dimension in GROWING_DIMENSIONS else size
            steps[dimension] = step
    kept = rank.attributes.get(DIGESTS)
    return StoredRank(
        specs=specs,
        arrays=arrays,
        sizes=sizes,
        steps=steps,
        rows_per_flush=int(rank.attributes["rows_per_flush"]),
        last_row=rank.committed_rows[-1] + 1 if rank.committed_rows else 0,
        committed=len(rank.committed_rows),
        digests=kept if isinstance(kept, dict) else {},
    )


def _stored(rank: Rank, name: str, spec: ArraySpec) -> StoredArray:
    array = rank.array(name)
    if array is None:
        raise InputError(
            f"The atlas {rank.location} is damaged: {rank.name}/{name} is missing. "
            "Record the maps again."
        )
    stored = "str" if array.is_text else array.dtype.name
    if (stored, array.dimensions) != (spec.dtype, spec.dimensions):
        raise InputError(
            f"The atlas {rank.location} cannot be gone on with: its {name} are kept as {stored}, "
            f"and here as {spec.dtype}."
        )
    return array
