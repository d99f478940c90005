"""docs/scaling.md: what an atlas takes, by its formulas and in atlases that are written here."""

import json
import math
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from attention_atlas.atlas import AtlasWriter, Sample, open_atlas
from attention_atlas.atlas.storage.files import RemoteFiles
from tests import made_atlases
from tests.docs import costs, pages

PAGE = "scaling.md"
TEXT_ARRAYS = 15


def _models() -> dict[str, dict[str, float]]:
    """The table of models, its numbers by the words at their heads."""
    rows = pages.table(PAGE, "model")
    head = rows.pop("model")
    del rows["---"]
    return {
        name: dict(zip(head, (float(cell.replace(",", "")) for cell in cells), strict=True))
        for name, cells in rows.items()
    }


def test_the_stored_bytes_of_the_table_are_near_the_formulas() -> None:
    models = _models()
    assert list(models) == ["nlp", "vision", "speech", "base"]
    for model in models.values():
        layers, heads = int(model["L"]), int(model["H"])
        row = costs.row_bytes(layers, heads, int(model["R"]), int(model["K"]), int(model["C"]))
        maps = layers * heads * model["K squared"] * costs.FLOAT16
        assert model["row, stored"] >= row
        assert 0.8 * maps < model["maps, stored"] < 1.02 * maps


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_an_atlas_takes_what_the_formula_says(task: str, trained_runs: dict[str, Path]) -> None:
    atlas = open_atlas(trained_runs[task])
    samples = list(atlas)
    rank = atlas.path / "rank-0"
    stored = sum(file.stat().st_size for file in (rank / "maps").glob("c.*"))
    maps = 0
    for sample in samples:
        layers, heads = sample.entropy.shape
        of_sample = costs.map_bytes(layers, heads, sample.length)
        assert sample.maps.nbytes == of_sample
        assert _row_bytes(sample) == costs.row_bytes(
            layers, heads, len(sample.readout), sample.length, len(sample.logits)
        )
        maps += of_sample
    chunk = json.loads((rank / "maps" / "zarr.json").read_text())["chunk_grid"]["configuration"]
    padded = costs.FLOAT16 * math.prod(chunk["chunk_shape"])
    # The head of each file, and the zeros behind the end of a sample.
    assert 0.5 * maps < stored < maps + (40 + padded / 10_000) * len(samples)
    arrays = sum(1 for folder in rank.iterdir() if folder.is_dir())
    assert _files(atlas.path) == costs.atlas_files([len(samples)], len(samples), 1, arrays)


def _row_bytes(sample: Sample) -> int:
    arrays = (sample.readout, sample.readout_entropy, sample.entropy, sample.logits)
    return sum(array.nbytes for array in arrays)


def _files(atlas: Path) -> int:
    return sum(1 for file in atlas.rglob("*") if file.is_file())


@pytest.mark.parametrize("max_tokens", [64, 600])
def test_each_writer_has_files_of_its_own(max_tokens: int, tmp_path: Path) -> None:
    rows = [130, 5]
    for rank, num_rows in enumerate(rows):
        _write(tmp_path / "atlas.zarr", range(num_rows), 2, max_tokens, rank)
    files_of_maps = costs.map_files(2, 4, max_tokens)
    assert files_of_maps == (2 if max_tokens == 600 else 1)
    assert _files(tmp_path / "atlas.zarr") == costs.atlas_files(
        rows, 2 * len(rows), files_of_maps, TEXT_ARRAYS
    )


def _write(
    location: Path | str, numbers: Sequence[int], mapped: int, max_tokens: int = 64, rank: int = 0
) -> None:
    options = {"max_tokens": max_tokens, "num_samples": len(numbers), "rank": rank}
    with AtlasWriter(location, made_atlases.attributes("nlp"), **options) as writer:
        writer.add(
            made_atlases.sample("nlp", 1000 * rank + number, maps=number < mapped)
            for number in numbers
        )


def test_a_store_is_asked_as_often_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    puts: list[str] = []
    gets: list[str] = []
    write, read = RemoteFiles.write, RemoteFiles.read

    def counted_write(self: RemoteFiles, key: str, content: bytes) -> None:
        puts.append(key)
        write(self, key, content)

    def counted_read(self: RemoteFiles, keys: Sequence[str]) -> list[bytes | None]:
        gets.extend(keys)
        return read(self, keys)

    monkeypatch.setattr(RemoteFiles, "write", counted_write)
    monkeypatch.setattr(RemoteFiles, "read", counted_read)
    location, rows = f"memory://{uuid.uuid4().hex}/atlas.zarr", 300
    _write(location, range(rows), 10)
    # The attributes of the rank are put twice: the second time when it is finished.
    assert len(puts) == costs.atlas_files([rows], 10, 1, TEXT_ARRAYS) + 1
    gets.clear()
    atlas = open_atlas(location)
    flushes = -(-rows // 128)
    assert flushes * 3 <= len(gets) <= flushes * 3 + 8
    gets.clear()
    assert atlas[0].maps.any()
    opened = len(gets)
    assert opened <= 4
    gets.clear()
    assert atlas.sample("nlp-0005").maps.any()
    assert len(gets) <= 1
