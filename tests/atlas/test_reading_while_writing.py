"""A reader that opens at any moment of a writer's work shows whole flushes, and no damage."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from attention_atlas.atlas import AtlasWriter
from attention_atlas.atlas.storage.files import LocalFiles
from attention_atlas.atlas.storage.group_reader import GroupReader
from attention_atlas.errors import InputError
from tests import made_atlases

ROWS = 4


class FilesWhileWriting(LocalFiles):
    """Files of a folder; right after one of them was read for the first time, a writer goes on."""

    def __init__(self, folder: Path, after: dict[str, Callable[[], object]]) -> None:
        super().__init__(folder)
        self._after = dict(after)

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        found = []
        for key in keys:
            found += super().read([key])
            self._after.pop(key, lambda: None)()
        return found


def write(path: Path, numbers: Sequence[int], **options: object) -> AtlasWriter:
    writer = AtlasWriter(path, made_atlases.attributes("nlp"), rows_per_flush=ROWS, **options)
    writer.add(made_atlases.sample("nlp", number) for number in numbers)
    return writer


def rank_of(path: Path, after: dict[str, Callable[[], object]]) -> GroupReader:
    return GroupReader(path, FilesWhileWriting(path, after), "rank-0")


def names(numbers: Sequence[int]) -> list[str]:
    return [f"nlp-{number:04d}" for number in numbers]


def committed_names(rank: GroupReader) -> list[str]:
    return [rank.sample_ids[row] for row in rank.committed_rows]


@pytest.mark.parametrize("key", ["zarr.json", "length/zarr.json"])
def test_writer_that_resumes_a_finished_group(tmp_path, key):
    write(tmp_path, range(2)).close()
    going_on: list[AtlasWriter] = []

    def go_on() -> None:
        going_on.append(write(tmp_path, range(2, 2 + ROWS), append=True))

    rank = rank_of(tmp_path, {f"rank-0/{key}": go_on})
    assert committed_names(rank) == names(range(2 + ROWS))
    assert not rank.finished
    going_on[0].close()


def test_writer_that_resumes_and_ends_twice(tmp_path):
    write(tmp_path, range(2)).close()
    rank = rank_of(
        tmp_path,
        {
            "rank-0/zarr.json": lambda: write(tmp_path, [2, 3], append=True).close(),
            "rank-0/epoch/c.0": lambda: write(tmp_path, [4, 5, 6], append=True).close(),
        },
    )
    assert committed_names(rank) == names(range(7))
    assert rank.finished


def test_two_flushes_that_are_committed_between_two_looks(tmp_path):
    writer = write(tmp_path, range(ROWS), num_samples=5 * ROWS)

    def go_on() -> None:
        writer.add(made_atlases.sample("nlp", number) for number in range(ROWS, 3 * ROWS))

    rank = rank_of(tmp_path, {"rank-0/length/c.1": go_on})
    assert committed_names(rank) == names(range(3 * ROWS))
    writer.close()


def test_group_that_is_made_between_two_looks(tmp_path):
    (tmp_path / "rank-0").mkdir()
    rank = rank_of(tmp_path, {"rank-0/zarr.json": lambda: write(tmp_path, range(ROWS)).stop()})
    assert committed_names(rank) == names(range(ROWS))


@pytest.mark.parametrize("name", ["length", "sample_id", "epoch"])
@pytest.mark.parametrize("finished", [True, False])
def test_chunk_that_is_lost_is_damage_all_the_same(tmp_path, name, finished):
    writer = write(tmp_path, range(3 * ROWS))
    writer.close() if finished else writer.stop()
    (tmp_path / "rank-0" / name / "c.1").unlink()
    with pytest.raises(InputError, match=rf"a chunk of rank-0/{name} with the sample .* missing"):
        rank_of(tmp_path, {})


def test_number_of_samples_that_stays_wrong_is_damage(tmp_path):
    write(tmp_path, range(2)).close()
    metadata = tmp_path / "rank-0" / "zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["committed"] = 3
    metadata.write_text(json.dumps(content))
    with pytest.raises(InputError, match="committed 3 samples and shows 2"):
        rank_of(tmp_path, {})
