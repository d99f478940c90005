"""`verify` finds every kind of damage without being told where to look."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from attention_atlas.atlas import open_atlas
from attention_atlas.atlas.storage.codecs import array_digest, chunk_digest
from tests import made_atlases


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return made_atlases.write(tmp_path, "speech", count=5, mapped=3) / "atlas.zarr"


def keep_digests(path: Path) -> None:
    """Put the digests into the attributes, by hand and from what the format says."""
    rank = path / "rank-0"
    digests = {}
    for folder in (entry for entry in rank.iterdir() if entry.is_dir()):
        chunks = {file.name: file for file in folder.glob("c.*")}
        digests[folder.name] = array_digest(
            {key: chunk_digest(file.read_bytes()) for key, file in chunks.items()}
        )
    metadata = json.loads((rank / "zarr.json").read_text())
    metadata["attributes"]["digests"] = digests
    (rank / "zarr.json").write_text(json.dumps(metadata))


def test_digest_is_what_sha256sum_would_say():
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    assert chunk_digest(b"one") == one
    expected = hashlib.sha256(f"c.0 {one}\nc.1 {two}\n".encode()).hexdigest()
    assert array_digest({"c.1": two, "c.0": one}) == expected


def test_whole_atlas_with_digests_is_as_written(path):
    keep_digests(path)
    found = open_atlas(path).verify()
    assert found.is_whole
    assert found.num_chunks == len(list(path.rglob("c.*")))
    assert str(found) == f"All {found.num_chunks} chunks of {path} are as written."


def test_whole_atlas_without_digests_says_what_was_not_looked_at(path):
    found = open_atlas(path).verify()
    assert found.is_whole
    assert "are there and decode" in str(found)
    assert "rank-0 has no digests" in str(found)


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize(
    ("name", "sample"),
    [("maps/c.2.0.0.0.0", "speech-0002"), ("readout/c.0.0.0", "speech-0000")],
)
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_damaged_chunk_is_named_with_a_sample(path, digests, name, sample, damage):
    if digests:
        keep_digests(path)
    chunk = path / "rank-0" / name
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.unlink() if damage == "missing" else chunk.write_bytes(content)
    found = open_atlas(path).verify()
    (told,) = found.damages
    what = "is missing" if damage == "missing" else "cannot be decoded"
    array = name.partition("/")[0]
    assert told == f"rank-0/{array} of the sample '{sample}' {what} (chunk rank-0/{name})."
    assert "is damaged" in str(found)


def test_all_damages_are_reported_at_once(path):
    (path / "rank-0" / "has_maps" / "c.0").write_bytes(b"")
    (path / "rank-0" / "frames" / "c.0").unlink()
    (path / "rank-0" / "logits" / "c.0.0").unlink()
    told = open_atlas(path).verify().damages
    assert [line.split()[0] for line in told] == [
        "rank-0/frames",
        "rank-0/has_maps",
        "rank-0/logits",
    ]


def test_chunk_that_was_replaced_by_a_whole_one_is_found_by_its_digest(path):
    maps = path / "rank-0" / "maps"
    keep_digests(path)
    (maps / "c.0.0.0.0.0").write_bytes((maps / "c.1.0.0.0.0").read_bytes())
    (told,) = open_atlas(path).verify().damages
    assert told.startswith("rank-0/maps is not as it was written")


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("lost", ["array", "metadata"])
def test_array_that_is_gone_is_found(path, digests, lost):
    if digests:
        keep_digests(path)
    array = path / "rank-0" / "entropy"
    shutil.rmtree(array) if lost == "array" else (array / "zarr.json").unlink()
    assert open_atlas(path).verify().damages == ["rank-0/entropy is missing."]


@pytest.mark.parametrize("content", ["", "[1]", '{"shape": [3], "chunk_grid": 1}'])
def test_metadata_that_cannot_be_read_are_one_damage_of_all(path, content):
    (path / "rank-0" / "readout" / "zarr.json").write_text(content)
    (path / "rank-0" / "text").mkdir()
    (path / "rank-0" / "logits" / "c.0.0").unlink()
    logits, readout = open_atlas(path).verify().damages
    assert "rank-0/logits" in logits
    assert readout == "rank-0/readout cannot be read, because its zarr.json is broken."


def test_drafts_of_a_killed_writer_do_not_count(path):
    keep_digests(path)
    for name in ("maps/c.4.0.0.0.0.partial", "maps/zarr.json.partial", "zarr.json.partial"):
        (path / "rank-0" / name).write_bytes(b"half")
    assert open_atlas(path).verify().is_whole


@pytest.mark.parametrize("digests", [True, False])
def test_what_an_atlas_does_not_know_is_passed_over(path, digests):
    later = path / "rank-0" / "of_later"
    later.mkdir()
    (later / "c.0").write_bytes(b"in a codec to come")
    (later / "zarr.json").write_text('{"node_type": "array", "chunk_grid": {"name": "other"}}')
    if digests:
        keep_digests(path)
    for folder in ("", "maps"):
        (path / "rank-0" / folder / ".DS_Store").write_bytes(b"of a file browser")
    assert open_atlas(path).verify().damages == []


def test_arrays_of_a_writer_that_was_killed_before_its_first_sample(path):
    array = path / "rank-1" / "readout"
    array.mkdir(parents=True)
    metadata = (path / "rank-0" / "zarr.json").read_text()
    (path / "rank-1" / "zarr.json").write_text(metadata.replace("true", "false"))
    (array / "zarr.json.partial").write_bytes(b"half")
    assert open_atlas(path).verify().is_whole
