"""What open_atlas says of things that are no atlas, and what it imports."""

import json
import subprocess
import sys

import numpy as np
import pytest

from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases


def test_run_folder_and_atlas_are_the_same(tmp_path):
    run = made_atlases.write(tmp_path / "run", "nlp")
    assert open_atlas(run).sample_ids == open_atlas(str(run / "atlas.zarr")).sample_ids


def test_path_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="There is no run"):
        open_atlas(tmp_path / "nothing")


def test_run_without_an_atlas(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds no atlas\.zarr.*capture=off"):
        open_atlas(tmp_path)


def test_folder_and_file_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError, match=r"holds no atlas\.zarr"):
            open_atlas(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "incomplete"),
        ("not json", "is not an atlas"),
        ('{"zarr_format": 3, "node_type": "group", "attributes": {}}', "no schema_version"),
        (
            '{"zarr_format": 3, "node_type": "group", "attributes": {"schema_version": 1}}',
            "incomplete",
        ),
    ],
)
def test_root_that_is_not_of_an_atlas(tmp_path, content, message):
    (tmp_path / "atlas.zarr").mkdir()
    if content is not None:
        (tmp_path / "atlas.zarr" / "zarr.json").write_text(content)
    with pytest.raises(InputError, match=message):
        open_atlas(tmp_path / "atlas.zarr")


def test_newer_schema(tmp_path):
    run = made_atlases.write(tmp_path, "nlp")
    metadata = run / "atlas.zarr" / "zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["schema_version"] = 2
    metadata.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"schema version 2 .* update attention-atlas"):
        open_atlas(run)


def test_atlas_without_a_committed_sample(tmp_path):
    writer = AtlasWriter(tmp_path / "atlas.zarr", made_atlases.attributes("nlp"))
    with pytest.raises(InputError, match="is empty"):
        open_atlas(tmp_path)
    writer.add([made_atlases.sample("nlp", 0)])
    with pytest.raises(InputError, match="is empty"):
        open_atlas(tmp_path)
    writer.close()
    assert len(open_atlas(tmp_path)) == 1


def test_atlas_that_is_being_written_shows_what_is_committed(tmp_path):
    writer = AtlasWriter(tmp_path, made_atlases.attributes("nlp"), rows_per_flush=4)
    numbers = iter(range(20))
    for _ in range(2):
        writer.add(made_atlases.sample("nlp", next(numbers)) for _ in range(5))
        atlas = open_atlas(tmp_path)
        assert not atlas.finished
        assert len(atlas) % 4 == 0
    assert atlas.sample_ids == [f"nlp-{number:04d}" for number in range(8)]
    writer.close()
    assert len(atlas) == 8, "what is open stays as it was"
    assert atlas[7].maps.shape[0] == 2
    assert len(open_atlas(tmp_path)) == 10


def test_rank_that_has_only_a_folder_yet_is_passed_over(tmp_path):
    run = made_atlases.write(tmp_path, "nlp")
    (run / "atlas.zarr" / "rank-1").mkdir()
    (run / "atlas.zarr" / "rank-notes").mkdir()
    atlas = open_atlas(run)
    assert len(atlas) == 6
    assert not atlas.finished
    (run / "atlas.zarr" / "rank-0" / "zarr.json").unlink()
    with pytest.raises(InputError, match=r"rank-0/zarr\.json cannot be read"):
        open_atlas(run)


def test_size_and_time_of_the_last_change(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "vision"))
    files = [file.stat() for file in atlas.path.rglob("*") if file.is_file()]
    assert atlas.num_bytes == sum(file.st_size for file in files)
    for name, size in atlas.array_bytes.items():
        of_array = (path for path in atlas.path.glob(f"*/{name}/**/*") if path.is_file())
        assert size == sum(path.stat().st_size for path in of_array)
    assert sum(atlas.array_bytes.values()) < atlas.num_bytes
    assert atlas.modified == max(file.st_mtime for file in files)


def test_unknown_sample_names_the_closest(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "nlp"))
    with pytest.raises(InputError, match="the closest is 'nlp-0003'"):
        atlas.sample("nlp-003")
    with pytest.raises(IndexError):
        atlas[6]


@pytest.mark.parametrize("index", ["nlp-0001", slice(1, 3), 1.0, None])
def test_an_atlas_is_indexed_by_whole_numbers(tmp_path, index):
    atlas = open_atlas(made_atlases.write(tmp_path, "nlp"))
    with pytest.raises(TypeError, match=r"^atlas\[.*\] is not possible: .* or atlas\.sample\(id\)"):
        atlas[index]
    assert atlas[np.int64(1)].sample_id == atlas[-5].sample_id == "nlp-0001"


def test_unknown_attributes_and_arrays_of_later_versions_are_passed_over(tmp_path):
    run = made_atlases.write(tmp_path, "nlp")
    metadata = run / "atlas.zarr" / "zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["new"] = 1
    metadata.write_text(json.dumps(content))
    assert len(open_atlas(run)) == 6


def test_opening_and_reading_never_imports_torch(tmp_path):
    run = made_atlases.write(tmp_path, "vision")
    program = """
import sys
from attention_atlas.atlas import open_atlas
atlas = open_atlas(sys.argv[1])
[atlas[0].maps, atlas[0].tokens, atlas.verify(), list(atlas.iter_maps())]
slow = {"xarray", "zarr", "fsspec"} & set(sys.modules)
assert not slow, slow
atlas.to_xarray()
heavy = {"torch", "lightning", "hydra", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, str(run)], check=True)
