"""A writer may go on with a group that exists, and flush when it likes."""

import json
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.atlas.captured_batch import CapturedBatch
from attention_atlas.errors import InputError
from tests import made_atlases
from tests.made_atlases import assert_same


@pytest.fixture(params=["folder", "file", "memory"])
def location(request, tmp_path):
    """A path, a `file://` URL and the URL of another store."""
    if request.param == "folder":
        return tmp_path / "atlas.zarr"
    if request.param == "file":
        return f"file://{tmp_path}/atlas.zarr"
    return f"memory://{uuid.uuid4().hex}/atlas.zarr"


def write(location, numbers, task="nlp", maps=True, epoch=0, **options):
    with AtlasWriter(
        location, made_atlases.attributes(task), rows_per_flush=4, **options
    ) as writer:
        made = [made_atlases.sample(task, i, maps=maps, epoch=epoch) for i in numbers]
        writer.add(made)
    return made


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_epochs_are_appended(location, task):
    written = [write(location, range(6), task, epoch=each, append=True) for each in range(3)]
    atlas = open_atlas(location)
    assert atlas.finished
    assert atlas.epochs == [0, 1, 2]
    assert atlas.num_repeated == 0
    for epoch, made in enumerate(written):
        for read, sample in zip(atlas.samples(epoch), made, strict=True):
            assert_same(read, sample)


def test_longer_samples_may_follow(location):
    first = write(location, [0, 1], max_tokens=8)
    second = write(location, [39, 2, 25], epoch=1, append=True)
    atlas = open_atlas(location)
    for epoch, made in enumerate((first, second)):
        for read, sample in zip(atlas.samples(epoch), made, strict=True):
            assert_same(read, sample)


def test_flush_ends_a_chunk_early(tmp_path):
    numbers = [0, 1, 2, 30, 31, 5]
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp"), rows_per_flush=4) as writer:
        writer.flush()
        assert writer.committed == 0
        for number in numbers:
            writer.add([made_atlases.sample("nlp", number)])
            if number in (1, 31):
                writer.flush()
                assert writer.committed == len(open_atlas(tmp_path)) == numbers.index(number) + 1
    for read, number in zip(open_atlas(tmp_path), numbers, strict=True):
        assert_same(read, made_atlases.sample("nlp", number))
    lengths = zarr.open_array(str(tmp_path / "rank-0" / "length"), mode="r")[:]
    assert (lengths >= 0).tolist() == [True] * 2 + [False] * 2 + [True] * 3 + [False] + [True]


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_batches_of_any_size_are_written_as_single_samples_are(tmp_path, task):
    made = [made_atlases.sample(task, i, maps=i % 2 == 0) for i in range(11)]
    with AtlasWriter(tmp_path / "one", made_atlases.attributes(task), rows_per_flush=4) as writer:
        writer.add(made)
    with AtlasWriter(tmp_path / "many", made_atlases.attributes(task), rows_per_flush=4) as writer:
        for first, last in ((0, 7), (7, 7), (7, 8), (8, 11)):
            writer.add_batch(batch_of(made[first:last]))
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("c.*")}
        for folder in (tmp_path / "one", tmp_path / "many")
    ]
    assert files[0] == files[1]


def batch_of(samples):
    """A batch whose padding holds what must not be kept."""
    if not samples:
        return CapturedBatch([], *[np.zeros((0, 1, 1))] * 8)
    length = np.array([len(sample.boxes) for sample in samples])

    def padded(name, axis):
        values = [np.moveaxis(getattr(sample, name), axis, 0) for sample in samples]
        shape = max(len(value) for value in values), *values[0].shape[1:]
        stacked = np.full((len(values), *shape), 7, dtype=values[0].dtype)
        for row, value in zip(stacked, values, strict=True):
            row[: len(value)] = value
        return np.moveaxis(stacked, 1, axis + 1)

    columns = {}
    if samples[0].spectrogram is not None:
        columns["spectrogram"] = padded("spectrogram", 1)
        columns["frames"] = np.array([sample.spectrogram.shape[1] for sample in samples])
    if samples[0].image is not None:
        columns["image"] = np.stack([sample.image for sample in samples])
    if samples[0].text is not None:
        columns["text"] = [sample.text for sample in samples]
    return CapturedBatch(
        sample_id=[sample.sample_id for sample in samples],
        label=np.array([sample.label for sample in samples]),
        prediction=np.array([sample.prediction for sample in samples]),
        logits=np.stack([sample.logits for sample in samples]),
        length=length,
        boxes=padded("boxes", 0),
        readout=padded("readout", 1),
        readout_entropy=np.stack([sample.readout_entropy for sample in samples]),
        entropy=np.stack([sample.entropy for sample in samples]),
        maps={i: sample.maps for i, sample in enumerate(samples) if sample.maps is not None},
        groups={name: [sample.groups[name] for sample in samples] for name in samples[0].groups},
        **columns,
    )


def test_what_comes_first_decides_how_it_is_read(location):
    write(location, [0])
    with pytest.raises(InputError, match="already holds rank-0"):
        write(location, [1])
    with pytest.raises(InputError, match="cannot be appended to: its maps are stored as float16"):
        write(location, [1], append=True, maps_dtype="float32")
    with pytest.raises(InputError, match="cannot be appended to: its task is 'nlp', and here"):
        write(location, [1], "vision", append=True)
    attributes = made_atlases.attributes("nlp", variant="differential")
    with pytest.raises(InputError, match="cannot be appended to: its mechanism is"):
        AtlasWriter(location, attributes, append=True)
    assert open_atlas(location).sample_ids == ["nlp-0000"]


def test_attributes_that_came_later_have_their_defaults(tmp_path):
    write(tmp_path, [0])
    metadata = tmp_path / "zarr.json"
    content = json.loads(metadata.read_text())
    for name in ("signed", "leading_tokens", "mel_frequencies", "frame_seconds"):
        del content["attributes"][name]
    metadata.write_text(json.dumps(content))
    write(tmp_path, [1], epoch=1, append=True)
    assert open_atlas(tmp_path).epochs == [0, 1]


def test_names_of_tokens_are_those_of_the_last_writer(tmp_path):
    write(tmp_path, [0])
    names = {"leading_tokens": ["[CLS]"]}
    attributes = replace(made_atlases.attributes("nlp"), **names)
    with AtlasWriter(tmp_path, attributes, append=True) as writer:
        writer.add([made_atlases.sample("nlp", 1)])
    assert [sample.tokens[0] for sample in open_atlas(tmp_path)] == ["[CLS]", "[CLS]"]


def test_missing_attribute_is_compared_by_its_default(tmp_path):
    attributes = made_atlases.attributes("nlp", variant="differential")
    with AtlasWriter(tmp_path, attributes) as writer:
        writer.add([made_atlases.sample("nlp", 0, variant="differential")])
    metadata = tmp_path / "zarr.json"
    content = json.loads(metadata.read_text())
    del content["attributes"]["signed"]
    metadata.write_text(json.dumps(content))
    with pytest.raises(InputError, match="its signed is False, and here it is True"):
        AtlasWriter(tmp_path, attributes, append=True)


def test_samples_of_other_sizes_are_refused(tmp_path):
    write(tmp_path, [0])
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp"), append=True) as writer:
        with pytest.raises(ValueError, match=r"readout has shape \(5, 4\), the atlas expects"):
            writer.add([made_atlases.sample("nlp", 1, heads=5)])
        writer.add([made_atlases.sample("nlp", 1)])
    assert len(open_atlas(tmp_path)) == 2


def test_digests_tell_what_was_changed(location):
    write(location, range(6), digests=True)
    assert str(open_atlas(location).verify()).endswith("are as written.")
    write(location, range(6), epoch=1, digests=True, append=True)
    found = open_atlas(location).verify()
    assert found.is_whole
    assert not found.without_digests
    write(location, range(6), epoch=2, append=True)
    assert open_atlas(location).verify().without_digests == ["rank-0"]


def test_shell_commands_of_the_page_compute_a_digest(tmp_path):
    write(tmp_path / "atlas.zarr", range(50), digests=True)
    page = (Path(__file__).parents[2] / "docs" / "atlas-format.md").read_text()
    commands = page.split("```\ncd atlas.zarr", 1)[1].split("```")[0]
    done = subprocess.run(
        ["bash", "-c", f"cd atlas.zarr{commands}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    kept = json.loads((tmp_path / "atlas.zarr" / "rank-0" / "zarr.json").read_text())
    assert done.stdout.split()[0] == kept["attributes"]["digests"]["readout"]


def test_changed_chunk_is_found_before_digests_are_renewed(tmp_path):
    write(tmp_path, range(6), digests=True)
    maps = tmp_path / "rank-0" / "maps"
    (maps / "c.1.0.0.0.0").write_bytes((maps / "c.2.0.0.0.0").read_bytes())
    with pytest.raises(InputError, match="rank-0/maps is not as it was written"):
        write(tmp_path, [6], epoch=1, digests=True, append=True)
    assert not open_atlas(tmp_path).verify().is_whole


def test_closed_writer_takes_nothing_more(tmp_path):
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp")) as writer:
        writer.add([made_atlases.sample("nlp", 0)])
    writer.close()
    with pytest.raises(ValueError, match="is closed"):
        writer.add([made_atlases.sample("nlp", 1)])


def test_group_without_a_sample_can_be_resumed(location):
    AtlasWriter(location, made_atlases.attributes("nlp")).stop()
    write(location, [0], append=True)
    assert open_atlas(location).sample_ids == ["nlp-0000"]
