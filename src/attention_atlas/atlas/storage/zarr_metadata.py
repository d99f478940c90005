"""What the `zarr.json` of a group or an array of an atlas holds, by Zarr v3."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_atlas.atlas.schema import ArraySpec, plain_json
from attention_atlas.atlas.storage.codecs import codecs

SEPARATOR = "."  # one folder for all chunks of an array: making folders is what costs most


def group_json(attributes: Mapping[str, Any]) -> bytes:
    """Return the metadata of a group."""
    return _encode(
        {"attributes": plain_json(dict(attributes)), "zarr_format": 3, "node_type": "group"}
    )


def array_json(spec: ArraySpec, shape: tuple[int, ...], chunks: tuple[int, ...]) -> bytes:
    """Return the metadata of an array of this shape, cut into chunks of this one."""
    is_text = spec.dtype == "str"
    fill = spec.fill_value
    if not is_text:
        fill = np.dtype(spec.dtype).type(fill).item()
    return _encode(
        {
            "shape": list(shape),
            "data_type": "string" if is_text else spec.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": SEPARATOR}},
            "fill_value": plain_json(fill),
            "codecs": codecs(spec.dtype),
            "attributes": {"meaning": spec.meaning},
            "dimension_names": list(spec.dimensions),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }
    )


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode()
