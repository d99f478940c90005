"""What a writer holds in memory, and that it leaves the chunks of small samples as they are."""

import json
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attention_atlas.atlas import AtlasWriter, CapturedSample, open_atlas
from attention_atlas.atlas.captured_batch import CapturedBatch
from attention_atlas.atlas.storage.group_writer import MAX_WAITING_BYTES, GroupWriter
from attention_atlas.atlas.storage.row_buffer import MAX_BUFFERED_BYTES
from tests import made_atlases
from tests.made_atlases import assert_same

TASKS = {"nlp": "text", "vision": "image", "speech": "spectrogram"}
SLACK = 32 * 2**20  # two samples


def large(kind: str, number: int) -> CapturedSample:
    """A sample with an input of 8 to 16 MiB."""
    if kind == "text":
        return replace(made_atlases.sample("nlp", number), text=f"{number} " * 4_000_000)
    if kind == "image":
        image = np.full((2_300, 2_300, 3), number, np.uint8)
        return replace(made_atlases.sample("vision", number), image=image)
    sample = made_atlases.sample("speech", number)
    assert sample.spectrogram is not None
    frames = 50 if number == 0 else 100_000  # after a first one that is small
    values = np.full((len(sample.spectrogram), frames), number, np.float32)
    return replace(sample, spectrogram=values)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is committed until the buffers wait for it."""
    commit, may_commit = GroupWriter.commit, threading.Event()

    def wait_and_commit(group: GroupWriter, flush: object) -> None:
        may_commit.wait(timeout=0.5)
        commit(group, flush)  # type: ignore[arg-type]

    monkeypatch.setattr(GroupWriter, "commit", wait_and_commit)
    yield
    may_commit.set()


@pytest.mark.slow
@pytest.mark.usefixtures("slow_disk")
@pytest.mark.parametrize("task", TASKS)
def test_large_samples_are_held_up_to_a_limit(task: str, tmp_path: Path) -> None:
    numbers = range(40)
    tracemalloc.start()
    try:
        with AtlasWriter(tmp_path, made_atlases.attributes(task)) as writer:
            for number in numbers:
                writer.add_batch(CapturedBatch.of(large(TASKS[task], number)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A buffer that is filled, those that wait, and the one that is encoded, with its copies.
    assert peak < 4 * MAX_BUFFERED_BYTES + MAX_WAITING_BYTES + SLACK
    for read, number in zip(open_atlas(tmp_path), numbers, strict=True):
        assert_same(read, large(TASKS[task], number))


@pytest.mark.parametrize("task", TASKS)
def test_small_samples_have_chunks_of_128_rows(task: str, tmp_path: Path) -> None:
    made = [made_atlases.sample(task, number) for number in range(130)]
    with AtlasWriter(tmp_path, made_atlases.attributes(task)) as writer:
        writer.add(made)
    attributes = json.loads((tmp_path / "rank-0" / "zarr.json").read_text())["attributes"]
    assert attributes["rows_per_flush"] == 128
    array = json.loads((tmp_path / "rank-0" / TASKS[task] / "zarr.json").read_text())
    assert array["chunk_grid"]["configuration"]["chunk_shape"][0] == 128
    assert len(list((tmp_path / "rank-0" / "length").glob("c.*"))) == 2


def test_large_samples_have_chunks_of_fewer_rows_also_when_more_are_appended(
    tmp_path: Path,
) -> None:
    made = [large("image", number) for number in range(5)]
    for part in (made[:3], made[3:]):
        with AtlasWriter(tmp_path, made_atlases.attributes("vision"), append=True) as writer:
            writer.add(part)
        attributes = json.loads((tmp_path / "rank-0" / "zarr.json").read_text())["attributes"]
        assert attributes["rows_per_flush"] == MAX_BUFFERED_BYTES // (2_300 * 2_300 * 3)
    for read, written in zip(open_atlas(tmp_path), made, strict=True):
        assert_same(read, written)
