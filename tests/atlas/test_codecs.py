"""Chunks and metadata are those that Zarr writes: the first byte for byte."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec

from attention_atlas.atlas.schema import array_specs
from attention_atlas.atlas.storage.codecs import array_json, cut, encode, group_json
from tests import made_atlases


def compressor(dtype: str) -> ZstdCodec:
    return ZstdCodec(level=1 if dtype == "str" else -1, checksum=True)


def make(path: Path, chunks: tuple[int, ...], dtype: str) -> "zarr.Array":
    return zarr.create_array(
        store=str(path),
        shape=tuple(3 * size for size in chunks),
        chunks=chunks,
        dtype=dtype,
        compressors=compressor(dtype),
        chunk_key_encoding={"name": "default", "separator": "."},
        fill_value="" if dtype == "str" else 0,
        config={"write_empty_chunks": True},
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "uint8", "bool", "str"])
@pytest.mark.parametrize("chunks", [(4,), (4, 5), (1, 2, 3)])
def test_bytes_are_those_of_zarr(tmp_path, chunks, dtype):
    generator = np.random.default_rng(0)
    block = generator.normal(size=(chunks[0], *(2 * size for size in chunks[1:]))) * 9
    if dtype == "str":
        texts = ["", "naïve 😀", "映画"]
        block = np.array(texts, dtype=object)[np.abs(block).astype(int) % 3]
    else:
        block = block.astype(dtype)
    array = make(tmp_path, chunks, dtype)
    array[tuple(slice(size) for size in block.shape)] = block
    files = {file.name: file.read_bytes() for file in tmp_path.glob("c*")}
    ours = {".".join(map(str, ("c", *key))): encode(chunk) for key, chunk in cut(block, chunks)}
    assert len(ours) == 2 ** (len(chunks) - 1)
    assert ours == files


def test_big_endian_numbers_and_views_are_encoded_as_they_read():
    block = np.arange(24, dtype=">i4").reshape(6, 4).T
    assert encode(block) == encode(np.array(block.tolist(), dtype="<i4"))


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_metadata_are_those_of_zarr(tmp_path, task):
    variant = "null_key" if task == "nlp" else None
    attributes = made_atlases.attributes(task, variant=variant)
    for name, spec in array_specs(attributes, "float16").items():
        shape = tuple(range(3, 3 + len(spec.dimensions)))
        zarr.create_array(
            store=str(tmp_path / name),
            shape=shape,
            chunks=(2,) * len(shape),
            dtype=spec.dtype,
            fill_value=spec.fill_value,
            compressors=compressor(spec.dtype),
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=spec.dimensions,
            attributes={"meaning": spec.meaning},
        )
        ours = array_json(spec, shape, (2,) * len(shape))
        assert json.loads(ours) == json.loads((tmp_path / name / "zarr.json").read_bytes()), name
    zarr.create_group(str(tmp_path / "group"), attributes=attributes.to_json())
    theirs = json.loads((tmp_path / "group" / "zarr.json").read_bytes())
    assert json.loads(group_json(attributes.to_json())) == theirs
