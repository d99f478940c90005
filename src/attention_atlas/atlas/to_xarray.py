"""Convert the samples of an atlas to one xarray dataset with named dimensions and coordinates."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing  # where xarray documents it for backends; not public elsewhere

from attention_atlas.atlas.sample import Sample
from attention_atlas.atlas.schema import (
    SCHEMA_VERSION,
    TOKEN_LAYOUTS,
    AtlasAttributes,
    array_specs,
)

_UNITS = {
    "entropy": "nat",
    "readout_entropy": "nat",
    "mel": "Hz",
    "frame": "s",
    "height": "pixel",
    "width": "pixel",
}
_BOX_UNITS = {
    "character_span": "character",
    "patch_box": "pixel",
    "time_frequency_box": "s, Hz, s, Hz",
}


def to_dataset(attributes: AtlasAttributes, samples: list[Sample]) -> xarray.Dataset:
    """Return a dataset of these samples; `maps` is read from the store on access."""
    mapped = [sample for sample in samples if sample.has_maps]
    variables = _per_sample(attributes, samples)
    if mapped:
        # As wide as the longest sample of all, because the dimension `key` is shared.
        maps = _Maps(mapped, longest=max(sample.length for sample in samples))
        variables["maps"] = (
            ("mapped_sample", "layer", "head", "query", "key"),
            indexing.LazilyIndexedArray(maps),
        )
    dataset = xarray.Dataset(variables, attrs=_attributes(attributes))
    dataset = dataset.assign_coords(_coordinates(attributes, samples, mapped, dict(dataset.sizes)))
    specs = array_specs(attributes, "float16")
    for name, variable in dataset.variables.items():
        if name in specs:
            variable.attrs["meaning"] = specs[str(name)].meaning
        if name in _UNITS:
            variable.attrs["units"] = _UNITS[str(name)]
        if variable.dtype == np.float16:  # which netCDF does not have
            variable.encoding["dtype"] = "float32"
    dataset["boxes"].attrs["units"] = _BOX_UNITS[attributes.token_layout]
    return dataset


def _per_sample(attributes: AtlasAttributes, samples: list[Sample]) -> dict[str, Any]:
    """Return the variables that every sample has, by name with their dimensions."""
    variables: dict[str, Any] = {}
    for name, spec in array_specs(attributes, "float16").items():
        if name == "text":
            variables[name] = ("sample", _texts([sample.text for sample in samples]))
        elif len(spec.dimensions) > 1 and name != "maps":
            variables[name] = (spec.dimensions, _pad([getattr(each, name) for each in samples]))
    return variables


def _coordinates(
    attributes: AtlasAttributes,
    samples: list[Sample],
    mapped: list[Sample],
    sizes: dict[Any, int],
) -> dict[str, Any]:
    coordinates: dict[str, Any] = {
        "sample": _texts([sample.sample_id for sample in samples]),
        "split": ("sample", _texts([sample.split for sample in samples])),
        "class": _texts(attributes.classes),
        "layer": _texts(attributes.layers),
        "box": _texts(list(TOKEN_LAYOUTS[attributes.token_layout].box_names)),
    }
    for name in ("label", "prediction", "length", "epoch"):
        coordinates[name] = ("sample", [getattr(sample, name) for sample in samples])
    for name in ("head", "readout_head", "query", "key", "height", "width", "channel"):
        if name in sizes:
            coordinates[name] = np.arange(sizes[name])
    groups = [sample.groups for sample in samples]
    for name in sorted({name for each in groups for name in each}):
        coordinates[f"group_{name}"] = ("sample", _texts([each.get(name, "") for each in groups]))
    if mapped:
        coordinates["mapped_sample"] = _texts([sample.sample_id for sample in mapped])
        coordinates["mapped_epoch"] = ("mapped_sample", [sample.epoch for sample in mapped])
    if "frame" in sizes:
        coordinates["mel"] = attributes.mel_frequencies
        coordinates["frame"] = np.arange(sizes["frame"]) * (attributes.frame_seconds or 0.0)
    return coordinates


def _attributes(attributes: AtlasAttributes) -> dict[str, Any]:
    """Return the attributes of the dataset as texts and numbers, which netCDF supports."""
    return {
        "schema_version": SCHEMA_VERSION,
        "task": attributes.task,
        "data": attributes.data,
        "token_layout": attributes.token_layout,
        "mechanism": json.dumps(attributes.mechanism, ensure_ascii=False),
        "signed": int(attributes.signed),
        "multi_label": int(attributes.multi_label),
        "checkpoint_digest": attributes.checkpoint_digest or "",
    }


class _Maps(BackendArray):
    """The maps of some samples as one array [N, L, H, K, K] that is read when indexed."""

    def __init__(self, samples: list[Sample], longest: int) -> None:
        self._samples = samples
        self._longest = longest
        first = samples[0].view_maps()
        self.shape = (len(samples), *first.shape[:2], longest, longest)
        self.dtype = first.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._select
        )

    def _select(self, key: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        which, rest = key[0], key[1:]
        if not isinstance(which, slice):
            return self._padded(self._samples[which])[rest]
        chosen = [self._padded(sample)[rest] for sample in self._samples[which]]
        empty = np.empty((0, *self.shape[1:]), dtype=self.dtype)[(slice(None), *rest)]
        return np.stack(chosen) if chosen else empty

    def _padded(self, sample: Sample) -> npt.NDArray[Any]:
        padded = np.full(self.shape[1:], np.nan, dtype=self.dtype)
        padded[:, :, : sample.length, : sample.length] = sample.view_maps()
        return padded


def _pad(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Stack arrays that differ in size, padded with NaN; integers become float64."""
    shape = np.max([array.shape for array in arrays], axis=0)
    ragged = any(array.shape != tuple(shape) for array in arrays)
    dtype = np.result_type(arrays[0], np.float16) if ragged else arrays[0].dtype
    stacked = np.full((len(arrays), *shape), np.nan if ragged else 0, dtype=dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[tuple(slice(0, size) for size in array.shape)] = array
    return stacked


def _texts(values: list[str]) -> npt.NDArray[np.object_]:
    texts = np.empty(len(values), dtype=object)
    texts[:] = values
    return texts
