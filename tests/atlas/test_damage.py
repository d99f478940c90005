"""Whatever happens to a chunk, the sample that it belongs to is named and the others are read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases

ROWS = 8
MISSING, UNREADABLE = "is missing", "cannot be decoded"


def flip_middle(chunk: Path) -> None:
    """Change four bytes: a single bit may well stand for nothing in a Zstandard frame."""
    content = bytearray(chunk.read_bytes())
    for place in range(4):
        content[len(content) // 2 - place] ^= 0xFF
    chunk.write_bytes(content)


def flip_size(chunk: Path) -> None:
    """Change the size that the head of a Zstandard frame tells of its content."""
    content = bytearray(chunk.read_bytes())
    content[5] ^= 0xFF
    chunk.write_bytes(content)


def cut(chunk: Path) -> None:
    chunk.write_bytes(chunk.read_bytes()[:-5])


def empty(chunk: Path) -> None:
    chunk.write_bytes(b"")


def take_another(chunk: Path) -> None:
    """Put the chunk of another array in its place, whole but of another size."""
    name = "has_maps" if chunk.parent.name != "has_maps" else "logits"
    (other,) = (chunk.parents[1] / name).glob("c.0*")
    shutil.copy(other, chunk)


DAMAGES = {
    Path.unlink: MISSING,
    flip_middle: UNREADABLE,
    flip_size: UNREADABLE,
    cut: UNREADABLE,
    empty: UNREADABLE,
    take_another: UNREADABLE,
}

SMALL = [
    ("nlp", ["readout", "readout_entropy", "entropy", "text", "boxes", "groups", "split"]),
    ("vision", ["image", "label", "prediction", "has_maps"]),
    ("speech", ["spectrogram"]),
    ("speech", ["frames"]),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An atlas of 20 samples of each task, which nobody damages."""
    paths = {task: tmp_path_factory.mktemp(task) / "atlas.zarr" for task, _ in SMALL}
    for task, path in paths.items():
        attributes = made_atlases.attributes(task)
        with AtlasWriter(path, attributes, max_tokens=64, rows_per_flush=ROWS) as writer:
            writer.add(made_atlases.sample(task, i, maps=i % 3 == 0) for i in range(20))
    return paths


@pytest.fixture
def copy(whole: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a copy of the atlas of a task."""
    return lambda task: shutil.copytree(whole[task], tmp_path / "atlas.zarr")


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_map_is_reported_and_all_others_are_read(copy, damage):
    path = copy("nlp")
    damage(path / "rank-0" / "maps" / "c.9.0.0.0.0")
    atlas = open_atlas(path)
    for sample in atlas:
        number = int(sample.sample_id[-4:])
        made = made_atlases.sample("nlp", number, maps=number % 3 == 0)
        np.testing.assert_array_equal(sample.readout, made.readout)
        if number == 9:
            with pytest.raises(
                InputError, match=f"rank-0/maps of the sample 'nlp-0009' {DAMAGES[damage]}"
            ):
                _ = sample.maps
        elif sample.has_maps:
            np.testing.assert_array_equal(sample.maps, made.maps.astype(np.float16))
    with pytest.raises(InputError, match=f"maps of the sample 'nlp-0009' {DAMAGES[damage]}"):
        list(atlas.iter_maps())


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(("task", "names"), SMALL)
def test_damaged_small_array_is_reported_and_the_rest_is_read(copy, task, names, damage):
    path = copy(task)
    for name in names:
        (chunk,) = (path / "rank-0" / name).glob("c.1*")
        damage(chunk)
    atlas = open_atlas(path)
    for name in names:
        used = "spectrogram" if name == "frames" else name
        for number in (0, 7, 16, 19):
            made = made_atlases.sample(task, number, maps=number % 3 == 0)
            expected = made.maps is not None if name == "has_maps" else getattr(made, used)
            np.testing.assert_array_equal(getattr(atlas[number], used), expected)
        for number in (8, 12, 15):
            sentence = f"rank-0/{name} of the sample '{task}-{number:04d}' {DAMAGES[damage]}"
            with pytest.raises(InputError, match=sentence):
                getattr(atlas[number], used)
            np.testing.assert_array_equal(
                atlas[number].logits, made_atlases.sample(task, number).logits
            )


@pytest.mark.parametrize("name", ["length", "epoch", "sample_id"])
@pytest.mark.parametrize("damage", [flip_middle, cut, empty])
def test_index_that_cannot_be_decoded_is_found_on_opening(copy, name, damage):
    path = copy("nlp")
    damage(path / "rank-0" / name / "c.1")
    with pytest.raises(InputError, match=f"rank-0/{name} cannot be read, because it cannot be dec"):
        open_atlas(path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"shape": [3], "chunk_grid": 1}'])
def test_metadata_of_an_array_that_cannot_be_read(copy, content):
    path = copy("nlp")
    (path / "rank-0" / "readout" / "zarr.json").write_text(content)
    atlas = open_atlas(path)
    assert atlas[0].logits.shape == (2,)
    with pytest.raises(InputError, match="rank-0/readout cannot be read"):
        _ = atlas[0].readout
    (path / "rank-0" / "zarr.json").write_text(content)
    if not content.startswith("{"):
        with pytest.raises(InputError, match=r"rank-0/zarr\.json cannot be read"):
            open_atlas(path)


def test_array_of_other_codecs_is_refused(copy):
    path = copy("nlp")
    metadata = path / "rank-0" / "readout" / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"zstd"', '"gzip"'))
    with pytest.raises(InputError, match=r"rank-0/readout cannot be read \(it has the codecs"):
        _ = open_atlas(path)[0].readout
