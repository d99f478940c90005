"""An atlas lies in a folder or at a URL, and is the same in both."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr

from attention_atlas.atlas import AtlasWriter, find_atlas, open_atlas
from attention_atlas.atlas.locations import exists, is_url, join, local_path, parent
from attention_atlas.atlas.storage.files import open_files
from attention_atlas.errors import InputError
from attention_atlas.run_folder import read_json, read_result
from tests import made_atlases


@pytest.fixture
def bucket() -> Iterator[str]:
    """A URL that holds nothing yet, in the memory of this process."""
    name = f"memory://{uuid.uuid4().hex}"
    yield name
    system = fsspec.filesystem("memory")
    if system.exists(name):
        system.rm(name, recursive=True)


def put(folder: Path, url: str) -> None:
    fsspec.filesystem("memory").put(f"{folder}/", f"{url}/", recursive=True)


@pytest.mark.parametrize(
    ("location", "url", "inside", "above"),
    [
        ("outputs/run", False, "outputs/run/a", "outputs"),
        ("/tmp/run", False, "/tmp/run/a", "/tmp"),
        (Path("outputs/run"), False, "outputs/run/a", "outputs"),
        ("C:/run", False, "C:/run/a", "C:"),
        ("memory://bucket/run", True, "memory://bucket/run/a", "memory://bucket"),
        ("s3://bucket/run/", True, "s3://bucket/run/a", "s3://bucket"),
        ("simplecache::gs://b/run", True, "simplecache::gs://b/run/a", "simplecache::gs://b"),
        ("zip://run::s3://b/c.zip", True, "zip://run/a::s3://b/c.zip", "zip://::s3://b/c.zip"),
        ("memory://", True, "memory://a", "memory://"),
    ],
)
def test_locations_are_joined_and_taken_apart(location, url, inside, above):
    assert is_url(location) is url
    assert str(join(location, "a")) == inside
    assert str(parent(location)) == above


def test_file_url_is_a_path():
    assert local_path("file:///tmp/run") == Path("/tmp/run")
    assert local_path("s3://bucket/run") is None


@pytest.mark.parametrize(
    ("url", "named"), [("s3://bucket/run", "s3fs"), ("gs://bucket/run", "gcsfs")]
)
def test_missing_driver_is_named(url, named):
    for use in (exists, open_files, open_atlas):
        with pytest.raises(InputError, match=f"(?s)^'{url}.*' cannot be opened: .*{named}"):
            use(url)


def test_unknown_kind_of_url_is_refused():
    with pytest.raises(InputError, match=r"cannot be reached: Protocol not known: nonsense\.$"):
        open_atlas("nonsense://bucket/run")


def test_files_are_written_read_listed_and_removed(bucket, tmp_path):
    for location in (join(bucket, "new"), str(tmp_path / "new"), f"file://{tmp_path}/[other]"):
        files = open_files(location)
        assert files.names("a") == []
        files.write("a/b", b"12")
        files.write("a/b", b"345")
        files.write("a/c*", b"")
        assert files.read(["a/b", "a/c*", "a/d", "a"]) == [b"345", b"", None, None]
        assert exists(join(location, "a/b"))
        assert sorted(files.names("a")) == ["b", "c*"]
        assert sorted(size for _, size, _ in files.sizes()) == [0, 3]
        files.remove("a/b")
        files.remove("a/b")
        assert files.names("a") == ["c*"]


def test_atlas_that_is_written_to_a_url_is_a_store_of_zarr(bucket):
    with AtlasWriter(join(bucket, "atlas.zarr"), made_atlases.attributes("nlp")) as writer:
        writer.add(made_atlases.sample("nlp", number) for number in range(3))
    group = zarr.open_group(f"{bucket}/atlas.zarr", mode="r")
    assert group["rank-0/sample_id"][:].tolist() == ["nlp-0000", "nlp-0001", "nlp-0002"]
    files = open_files(f"simplecache::{bucket}/atlas.zarr")
    assert files.read(["zarr.json", "nothing"]) == [
        open_files(bucket).read(["atlas.zarr/zarr.json"])[0],
        None,
    ]


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_atlas_at_a_url_is_that_of_the_folder(tmp_path, bucket, task):
    run = made_atlases.write(tmp_path / "run", task, count=5, mapped=2)
    (run / "result.json").write_text('{"test/accuracy": 0.5}')
    put(run, bucket)
    here = open_atlas(run)
    for location in (bucket, f"{bucket}/", join(bucket, "atlas.zarr"), f"file://{run}"):
        there = open_atlas(location)
        assert there.sample_ids == here.sample_ids
        assert read_result(there.run) == {"test/accuracy": 0.5}
        assert read_json(there.run, "nothing.json") is None
        assert there.num_bytes == here.num_bytes > 0
        assert there.array_bytes == here.array_bytes
        for read, expected in zip(there, here, strict=True):
            assert read.tokens == expected.tokens
            np.testing.assert_array_equal(read.readout, expected.readout)
            assert read.has_maps == expected.has_maps
        np.testing.assert_array_equal(there[1].maps, here[1].maps)
        assert there.to_xarray().load().identical(here.to_xarray().load())
        assert there.verify().is_whole
    assert str(find_atlas(bucket)) == f"{bucket}/atlas.zarr"


def test_atlas_at_a_url_lies_in_no_folder(tmp_path, bucket):
    put(made_atlases.write(tmp_path, "nlp"), bucket)
    with pytest.raises(InputError, match="lies in no folder"):
        _ = open_atlas(bucket).path
    assert open_atlas(tmp_path).path == tmp_path / "atlas.zarr"
    assert open_atlas(f"file://{tmp_path}").path == tmp_path / "atlas.zarr"


def test_url_without_an_atlas(tmp_path, bucket):
    with pytest.raises(InputError, match=f"There is no run '{bucket}'"):
        open_atlas(bucket)
    (tmp_path / "result.json").write_text("{}")
    put(tmp_path, bucket)
    with pytest.raises(InputError, match=r"holds no atlas\.zarr"):
        open_atlas(bucket)


@pytest.mark.parametrize("name", ["maps/c.1.0.0.0.0", "readout/c.0.0.0", "label/c.0"])
def test_missing_chunk_at_a_url_is_reported_with_its_sample(tmp_path, bucket, name):
    put(made_atlases.write(tmp_path, "nlp"), bucket)
    fsspec.filesystem("memory").rm(f"{bucket}/atlas.zarr/rank-0/{name}")
    sample = open_atlas(bucket)[1]
    array = name.partition("/")[0]
    with pytest.raises(InputError, match=f"rank-0/{array} of the sample 'nlp-0001' is missing"):
        getattr(sample, array)


def test_index_that_is_missing_at_a_url_is_found_on_opening(tmp_path, bucket):
    put(made_atlases.write(tmp_path, "nlp"), bucket)
    fsspec.filesystem("memory").rm(f"{bucket}/atlas.zarr/rank-0/length/c.0")
    with pytest.raises(InputError, match="committed 6 samples and shows 0"):
        open_atlas(bucket)
