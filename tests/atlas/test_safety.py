"""A killed writer leaves no half-written sample, and damage is found and named."""

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from attention_atlas.atlas import AtlasWriter, Sample, open_atlas
from attention_atlas.atlas.captured_batch import CapturedBatch
from attention_atlas.errors import InputError
from tests import made_atlases

ROWS = 8
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["attention_atlas.atlas.writer", "tests.made_atlases"])


def written(folder: Path, count: int = 20) -> Path:
    path = folder / "atlas.zarr"
    with AtlasWriter(
        path, made_atlases.attributes("nlp"), max_tokens=64, rows_per_flush=ROWS
    ) as writer:
        writer.add(made_atlases.sample("nlp", i, maps=i % 3 == 0) for i in range(count))
    return path


def assert_as_made(read: Sample) -> None:
    """A sample is bit for bit what the writing process added."""
    number = int(read.sample_id.removeprefix("nlp-"))
    made = made_atlases.sample("nlp", number, maps=read.has_maps)
    for name in ("text", "label", "prediction", "groups"):
        assert getattr(read, name) == getattr(made, name)
    for name in ("boxes", "logits", "readout", "readout_entropy", "entropy"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    if read.has_maps:
        np.testing.assert_array_equal(read.maps, made.maps.astype(np.float16))


def write_and_kill(path: Path, report: Path, epoch: int, delay: float) -> int:
    """Kill a process some time after its first commit; return what it said was committed."""
    process = PROCESSES.Process(target=made_atlases.write_until_killed, args=(path, report, epoch))
    process.start()
    while not committed_before(report):
        assert process.is_alive(), "the writer stopped by itself"
        time.sleep(0.001)
    time.sleep(delay)
    assert process.is_alive(), "the writer stopped by itself"
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return committed_before(report)


def committed_before(report: Path) -> int:
    lines = report.read_text().split("\n")[:-1] if report.exists() else []
    return int(lines[-1]) if lines else 0


@pytest.mark.slow
def test_twenty_kills_leave_whole_samples_only(tmp_path):
    draw = random.Random(0)
    for turn in range(20):
        path, report = tmp_path / f"{turn}.zarr", tmp_path / f"{turn}.txt"
        reported = write_and_kill(path, report, 0, draw.uniform(0, 0.1))
        atlas = open_atlas(path)
        assert not atlas.finished
        # What was written after the last report is at most the flush at work.
        assert reported <= len(atlas) <= reported + 4
        assert atlas.sample_ids == [f"nlp-{number:04d}" for number in range(len(atlas))]
        assert [s.has_maps for s in atlas] == [number % 3 == 0 for number in range(len(atlas))]
        for sample in atlas:
            assert_as_made(sample)


def test_kills_while_appending_lose_nothing_of_before(tmp_path):
    path = tmp_path / "atlas.zarr"
    draw, sizes = random.Random(1), []
    for epoch in range(5):
        report = tmp_path / f"{epoch}.txt"
        reported = write_and_kill(path, report, epoch, draw.uniform(0, 0.05))
        atlas = open_atlas(path)
        total = sum(1 for each in atlas.epochs for _ in atlas.samples(each))
        assert reported <= total <= reported + 4
        kept = [sum(1 for _ in atlas.samples(each)) for each in atlas.epochs]
        assert kept[: len(sizes)] == sizes
        sizes = kept
        for each in atlas.epochs:
            for sample in atlas.samples(each):
                assert sample.epoch == each
                assert_as_made(sample)
    options = {"max_tokens": 64, "append": True, "digests": True}
    with AtlasWriter(path, made_atlases.attributes("nlp"), **options) as writer:
        writer.add([made_atlases.sample("nlp", 1, epoch=9)])
    atlas = open_atlas(path)
    assert atlas.finished
    assert atlas.epochs[-1] == 9
    assert atlas.verify().is_whole
    assert not list(path.rglob("*.partial"))


def test_flush_that_was_never_committed_is_removed_on_appending(tmp_path):
    writer = AtlasWriter(tmp_path, made_atlases.attributes("nlp"), rows_per_flush=ROWS)
    writer.add(made_atlases.sample("nlp", number) for number in range(ROWS + 3))
    writer.stop()
    maps = tmp_path / "rank-0" / "maps"
    assert len(list(maps.glob("c.*"))) == ROWS + 3
    (tmp_path / "rank-0" / "length" / "c.1.partial").write_bytes(b"half")
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp"), append=True) as writer:
        writer.add([made_atlases.sample("nlp", ROWS, maps=False)])
        assert len(list(maps.glob("c.*"))) == ROWS
    atlas = open_atlas(tmp_path)
    assert len(atlas) == ROWS + 1
    assert not atlas[ROWS].has_maps
    assert not list(tmp_path.rglob("*.partial"))


def test_four_writers_at_once_lose_nothing(tmp_path):
    path = tmp_path / "atlas.zarr"
    start = PROCESSES.Barrier(4)
    writers = [
        PROCESSES.Process(target=made_atlases.write_rank, args=(path, rank, 30, start))
        for rank in range(4)
    ]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
        assert process.exitcode == 0
    atlas = open_atlas(path)
    assert atlas.finished
    expected = [f"nlp-{1000 * rank + number:04d}" for rank in range(4) for number in range(30)]
    assert atlas.sample_ids == expected
    for number, sample in enumerate(atlas):
        assert sample.has_maps == (number % 2 == 0)
        assert_as_made(sample)


def test_flush_without_its_mark_is_not_shown(tmp_path):
    path = written(tmp_path)
    unfinish(path)
    (path / "rank-0" / "length" / "c.2").unlink()
    assert len(open_atlas(path)) == 2 * ROWS


def unfinish(path: Path) -> None:
    """Bring the group's attributes back to how a writer at work has them."""
    metadata = path / "rank-0" / "zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"].update(finished=False, committed=None)
    metadata.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "name", ["readout", "entropy", "text", "label", "logits", "boxes", "has_maps", "groups"]
)
def test_missing_chunk_is_reported_with_its_sample(tmp_path, name):
    path = written(tmp_path)
    (chunk,) = (path / "rank-0" / name).glob("c.1*")
    chunk.unlink()
    atlas = open_atlas(path)
    getattr(atlas[3], name)
    with pytest.raises(InputError, match=rf"rank-0/{name} of the sample 'nlp-0012' is missing"):
        getattr(atlas[12], name)


@pytest.mark.parametrize("name", ["null_share", "readout_null_share"])
def test_missing_share_of_the_null_key_is_reported(tmp_path, name):
    path = made_atlases.write(tmp_path, "nlp", variant="null_key") / "atlas.zarr"
    shutil.rmtree(path / "rank-0" / name)
    with pytest.raises(InputError, match=rf"rank-0/{name} of the sample 'nlp-0001' is missing"):
        getattr(open_atlas(path)[1], name)


def test_missing_map_is_reported_with_its_sample(tmp_path):
    path = written(tmp_path)
    (path / "rank-0" / "maps" / "c.9.0.0.0.0").unlink()
    atlas = open_atlas(path)
    assert atlas[6].maps.shape[0] == 2
    with pytest.raises(InputError, match="maps of the sample 'nlp-0009' is missing"):
        _ = atlas[9].maps


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_chunk_is_reported_with_its_sample(tmp_path, damage):
    path = written(tmp_path)
    chunk = path / "rank-0" / "maps" / "c.9.0.0.0.0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0x10
    chunk.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    with pytest.raises(InputError, match="maps of the sample 'nlp-0009' cannot be decoded"):
        _ = open_atlas(path)[9].maps


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        ("sample_id/c.1", "rank-0/sample_id"),
        ("epoch/c.1", "rank-0/epoch with the sample 'nlp-0008'"),
        ("length/c.1", "rank-0/length with the sample 'nlp-0008'"),
        ("length/c.2", "committed 20 samples and shows 16"),
    ],
)
def test_hole_in_the_index_is_found_on_opening(tmp_path, chunk, message):
    path = written(tmp_path)
    (path / "rank-0" / chunk).unlink()
    with pytest.raises(InputError, match=message):
        open_atlas(path)


@pytest.mark.parametrize("name", ["zarr.json", "rank-0/zarr.json", "rank-0/length/c.0"])
def test_draft_that_is_a_link_is_not_followed(tmp_path, name):
    mine, path = tmp_path / "mine", tmp_path / "atlas.zarr"
    mine.write_text("precious")
    draft = path / f"{name}.partial"
    draft.parent.mkdir(parents=True)
    draft.symlink_to(mine)
    with AtlasWriter(path, made_atlases.attributes("nlp"), max_tokens=64) as writer:
        writer.add([made_atlases.sample("nlp", 0)])
    assert mine.read_text() == "precious"
    assert len(open_atlas(path)) == 1
    assert not list(path.rglob("*.partial"))


def test_writer_refuses_to_mix_two_runs(tmp_path):
    path = written(tmp_path)
    with pytest.raises(InputError, match="already holds rank-0"):
        AtlasWriter(path, made_atlases.attributes("nlp"))


def test_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        AtlasWriter(tmp_path / "file" / "atlas.zarr", made_atlases.attributes("nlp"))


def test_full_disk_ends_in_an_error_and_keeps_what_was_committed(tmp_path):
    """A limit on the size of files stands for the disk: the maps of the 11th sample do not fit."""
    program = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(made_atlases.__file__).parent)!r})
import made_atlases
from attention_atlas.atlas import AtlasWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = AtlasWriter(sys.argv[1], made_atlases.attributes("nlp"), rows_per_flush={ROWS})
writer.add(made_atlases.sample("nlp", i) for i in range(10))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
writer.add([made_atlases.sample("nlp", 39)])
"""
    path = tmp_path / "atlas.zarr"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert "InputError" in done.stderr
    assert [sample.label for sample in open_atlas(path)] == [i % 2 for i in range(ROWS)]
    assert not list(path.rglob("*.partial"))


def write_many(writer: AtlasWriter, in_batches: bool) -> None:
    for number in range(1000):
        sample = made_atlases.sample("nlp", number, maps=number % 3 == 0)
        if in_batches:
            writer.add_batch(CapturedBatch.of(sample))
        else:
            writer.add([sample])


@pytest.mark.parametrize("in_batches", [False, True])
def test_disk_that_fills_up_ends_in_a_one_line_error(make_disk, in_batches):
    path = make_disk(300) / "atlas.zarr"
    writer = AtlasWriter(path, made_atlases.attributes("nlp"), max_tokens=64, rows_per_flush=ROWS)
    with pytest.raises(InputError) as raised:
        write_many(writer, in_batches)
    assert str(path) in str(raised.value)
    assert "No space left on device" in str(raised.value)
    with pytest.raises(InputError, match="No space left on device"):
        writer.close()
    atlas = open_atlas(path)
    assert len(atlas) == writer.committed > ROWS
    assert not atlas.finished
    for read in atlas:
        assert_as_made(read)
    assert not list(path.rglob("*.partial"))


class SmallStore(MemoryFileSystem):
    """A place in memory that takes so many bytes in all."""

    protocol = "small"
    store: ClassVar[dict[str, object]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    room = 300_000

    def pipe_file(self, path, value, **options):
        type(self).room -= len(value)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().pipe_file(path, value, **options)


def test_url_that_takes_no_more_ends_in_a_one_line_error():
    fsspec.register_implementation("small", SmallStore, clobber=True)
    url = "small://run/atlas.zarr"
    writer = AtlasWriter(url, made_atlases.attributes("nlp"), max_tokens=64, rows_per_flush=ROWS)
    with pytest.raises(InputError) as raised:
        writer.add(made_atlases.sample("nlp", i, maps=i % 3 == 0) for i in range(1000))
    assert "No space left on device" in str(raised.value)
    atlas = open_atlas(url)
    assert len(atlas) == writer.committed > ROWS
    for read in atlas:
        assert_as_made(read)
