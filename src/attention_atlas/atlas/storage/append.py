"""Read the group of a rank to which a writer appends."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from attention_atlas.atlas.locations import Location
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
from attention_atlas.atlas.storage.group_reader import GroupReader
from attention_atlas.errors import InputError

OVERWRITTEN = ("config", "checkpoint_digest", "versions", "leading_tokens", "trailing_tokens")
"""Attributes of the root that may differ between writers; those of the last writer are stored."""


@dataclass(frozen=True)
class StoredGroup:
    """A group that holds arrays.

    Attributes:
        specs: Specification of each array.
        arrays: Stored arrays.
        sizes: Size along each dimension; the smallest, if a killed writer had resized only some
            of the arrays.
        steps: Size of the chunks along each dimension.
        rows_per_flush: Rows that are committed together.
        last_row: Index after the last committed row.
        committed: Number of committed samples.
        digests: Digest of each array; empty if none are stored.
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
    """Check that an atlas has the same attributes as those of a writer that appends.

    Raises:
        InputError: If an attribute differs; it names the attribute.
    """
    (content,) = files.read([METADATA])
    if content is None:
        return
    try:
        found: dict[str, Any] = json.loads(content)["attributes"]
        found["schema_version"] += 0
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{location} cannot be appended to: its {METADATA} is not one of an atlas."
        ) from error
    if found["schema_version"] > SCHEMA_VERSION:
        raise InputError(
            f"The atlas {location} has schema version {found['schema_version']} and this program "
            f"writes {SCHEMA_VERSION}: update attention-atlas."
        )
    wanted = attributes.to_json()
    for field in fields(AtlasAttributes):
        # An attribute that was added later is missing in older atlases, where its default applies.
        stored = found.get(field.name, None if field.default is MISSING else field.default)
        if field.name not in OVERWRITTEN and stored != wanted[field.name]:
            raise InputError(
                f"The atlas {location} cannot be appended to: its {field.name} is "
                f"{stored!r}, and here it is {wanted[field.name]!r}."
            )


def read_group(
    location: Location, files: Files, name: str, attributes: AtlasAttributes, maps_dtype: str
) -> StoredGroup | None:
    """Return the stored group of a rank; None if it does not exist or has no arrays yet.

    Raises:
        InputError: If it is damaged, or its arrays do not match these attributes.
    """
    if files.read([f"{name}/{METADATA}", f"{name}/length/{METADATA}"]).count(None):
        return None  # the array `length` is created last, so nothing was committed without it
    rank = GroupReader(location, files, name)
    spectrogram = rank.array("spectrogram")
    dtype = "float32" if spectrogram is None else spectrogram.dtype.name
    specs = array_specs(attributes, maps_dtype, dtype)
    arrays = {each: _stored(rank, each, spec) for each, spec in specs.items()}
    sizes: dict[str, int] = {}
    steps: dict[str, int] = {}
    # Chunks of maps are smaller, so `maps` comes first and the other arrays overwrite its steps.
    for array in (arrays["maps"], *(array for each, array in arrays.items() if each != "maps")):
        for dimension, size, step in zip(array.dimensions, array.shape, array.chunks, strict=True):
            known = sizes.get(dimension, size)
            sizes[dimension] = min(known, size) if dimension in GROWING_DIMENSIONS else size
            steps[dimension] = step
    digests = rank.attributes.get(DIGESTS)
    return StoredGroup(
        specs=specs,
        arrays=arrays,
        sizes=sizes,
        steps=steps,
        rows_per_flush=int(rank.attributes["rows_per_flush"]),
        last_row=rank.committed_rows[-1] + 1 if rank.committed_rows else 0,
        committed=len(rank.committed_rows),
        digests=digests if isinstance(digests, dict) else {},
    )


def _stored(rank: GroupReader, name: str, spec: ArraySpec) -> StoredArray:
    array = rank.array(name)
    if array is None:
        raise InputError(
            f"The atlas {rank.location} is damaged: {rank.name}/{name} is missing. "
            "Record the maps again."
        )
    stored = "str" if array.is_text else array.dtype.name
    if (stored, array.dimensions) != (spec.dtype, spec.dimensions):
        raise InputError(
            f"The atlas {rank.location} cannot be appended to: its {name} are stored as {stored}, "
            f"and here as {spec.dtype}."
        )
    return array
