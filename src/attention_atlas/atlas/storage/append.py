"""Read the group of a rank to which a writer appends."""

from collections.abc import Mapping
from dataclasses import dataclass

from attention_atlas.atlas.locations import Location
from attention_atlas.atlas.schema import (
    GROWING_DIMENSIONS,
    METADATA,
    ArraySpec,
    AtlasAttributes,
    array_specs,
    parse_root,
)
from attention_atlas.atlas.storage.array_reader import StoredArray
from attention_atlas.atlas.storage.files import Files
from attention_atlas.atlas.storage.group_reader import GroupReader
from attention_atlas.errors import InputError

OVERWRITTEN = ("config", "checkpoint_digest", "versions", "leading_tokens", "trailing_tokens")
"""Attributes of the root that may differ between writers; those of the last writer are stored."""


@dataclass(frozen=True)
class StoredGroup:
    """A group that holds arrays.

    Attributes:
        sizes: Size along each dimension; the smallest, if a killed writer had resized only some
            of the arrays.
        steps: Size of the chunks along each dimension.
        last_row: Index after the last committed row.
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
        InputError: It is not an atlas, is of a newer version, or has another attribute, which is
            named.
    """
    (content,) = files.read([METADATA])
    if content is None:
        return
    stored = parse_root(location, content).to_json()
    for name, wanted in attributes.to_json().items():
        if name not in OVERWRITTEN and stored[name] != wanted:
            raise InputError(
                f"The atlas {location} cannot be appended to: its {name} is {stored[name]!r}, and "
                f"here it is {wanted!r}."
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
    return StoredGroup(
        specs=specs,
        arrays=arrays,
        sizes=sizes,
        steps=steps,
        rows_per_flush=int(rank.attributes["rows_per_flush"]),
        last_row=rank.committed_rows[-1] + 1 if rank.committed_rows else 0,
        committed=len(rank.committed_rows),
        digests=rank.digests,
    )


def _stored(rank: GroupReader, name: str, spec: ArraySpec) -> StoredArray:
    array = rank.array(name)
    if array is None:
        raise rank.damage(f"{rank.name}/{name} is missing")
    stored = "str" if array.is_text else array.dtype.name
    if (stored, array.dimensions) != (spec.dtype, spec.dimensions):
        raise InputError(
            f"The atlas {rank.location} cannot be appended to: its {name} are stored as {stored}, "
            f"and here as {spec.dtype}."
        )
    return array
