"""Several epochs in one atlas, and what goes through all samples of one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray

from attention_atlas.atlas import Atlas, AtlasWriter, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases

EPOCHS = {0: [0, 1, 2], 2: [0, 2], 5: [0, 1, 2, 30]}


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp"), rows_per_flush=4) as writer:
        for epoch, numbers in EPOCHS.items():
            for number in numbers:
                made = made_atlases.sample("nlp", number, epoch=epoch, maps=number != 1)
                writer.add([replace(made, logits=made.logits + epoch)])
    return open_atlas(tmp_path)


def test_history_is_one_sample_for_each_epoch_that_holds_it(atlas):
    made = made_atlases.sample("nlp", 1)
    history = atlas.history("nlp-0001")
    assert [sample.epoch for sample in history] == [0, 5]
    for sample in history:
        np.testing.assert_array_equal(sample.logits, made.logits + np.float32(sample.epoch))
    assert [sample.epoch for sample in atlas.history("nlp-0030")] == [5]
    with pytest.raises(InputError, match="no sample 'nlp-003': the closest is 'nlp-0030'"):
        atlas.history("nlp-003")


def test_samples_of_an_epoch(atlas):
    assert atlas.epochs == list(EPOCHS)
    for epoch, numbers in EPOCHS.items():
        ids = [sample.sample_id for sample in atlas.samples(epoch)]
        assert ids == [f"nlp-{number:04d}" for number in numbers]
    assert [s.sample_id for s in atlas.samples()] == atlas.sample_ids


def test_maps_come_by_length_and_none_is_lost(atlas):
    lengths = []
    for samples, maps in atlas.iter_maps(epoch=5):
        for sample, own in zip(samples, maps, strict=True):
            np.testing.assert_array_equal(own, sample.maps)
            lengths.append((sample.sample_id, sample.length))
    assert lengths == [("nlp-0000", 3), ("nlp-0002", 5), ("nlp-0030", 33)]
    with pytest.raises(InputError, match="no epoch 1"):
        atlas.iter_maps(epoch=1)


def test_batches_of_maps_hold_samples_of_one_length_and_keep_to_their_size(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "vision", count=11, mapped=10))
    size = atlas[0].maps.nbytes
    for most, expected in ((4 * size, [4, 4, 2]), (size - 1, [1] * 10), (10**9, [10])):
        batches = list(atlas.iter_maps(batch_bytes=most))
        assert [len(samples) for samples, _ in batches] == expected
        for samples, maps in batches:
            assert maps.shape == (len(samples), 2, 4, 49, 49)
            assert maps.dtype == np.float16
        ids = [sample.sample_id for samples, _ in batches for sample in samples]
        assert ids == atlas.mapped_sample_ids


def test_iteration_over_maps_may_stop_early(atlas):
    samples, _ = next(atlas.iter_maps())
    assert samples[0].sample_id == "nlp-0000"


def test_atlas_without_maps_yields_none(tmp_path):
    assert list(open_atlas(made_atlases.write(tmp_path, "nlp", mapped=0)).iter_maps()) == []


def test_all_epochs_in_one_dataset(atlas):
    dataset = atlas.to_xarray(epoch="all")
    assert dataset["epoch"].values.tolist() == [0, 0, 0, 2, 2, 5, 5, 5, 5]
    assert dataset["mapped_epoch"].values.tolist() == [0, 0, 2, 2, 5, 5, 5]
    late = dataset.sel(sample="nlp-0002").swap_dims(sample="epoch").sel(epoch=5)
    np.testing.assert_array_equal(late["logits"], atlas.sample("nlp-0002").logits)
    assert atlas.to_xarray().sizes["sample"] == 4
    assert set(atlas.to_xarray(epoch=2)["epoch"].values) == {2}


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
@pytest.mark.parametrize("variant", [None, "null_key"])
def test_dataset_is_written_as_netcdf(tmp_path, task, variant):
    atlas = open_atlas(made_atlases.write(tmp_path, task, count=5, mapped=2, variant=variant))
    dataset = atlas.to_xarray()
    dataset.load().to_netcdf(tmp_path / "atlas.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "atlas.nc", engine="h5netcdf") as read:
        assert read["maps"].dtype == np.float32
        assert set(read.variables) == set(dataset.variables)
        for name in dataset.variables:
            np.testing.assert_array_equal(read[name].values, dataset[name].values)
            assert read[name].attrs == dataset[name].attrs
        assert read.attrs["task"] == task


def test_axes_have_coordinates_and_units(tmp_path):
    sound = open_atlas(made_atlases.write(tmp_path / "speech", "speech")).to_xarray()
    assert sound["head"].values.tolist() == sound["readout_head"].values.tolist() == [0, 1, 2, 3]
    assert sound["query"].values.tolist() == list(range(12)) == sound["key"].values.tolist()
    step = made_atlases.FRAME_SECONDS
    np.testing.assert_allclose(sound["frame"], np.arange(48) * step)
    assert (sound["frame"].units, sound["mel"].units) == ("s", "Hz")
    assert sound["boxes"].sel(sample="speech-0000", key=2, box="start_s") == np.float32(8 * step)
    image = open_atlas(made_atlases.write(tmp_path / "vision", "vision")).to_xarray()
    assert image["image"].sel(sample="vision-0001", height=27, width=0).shape == (1,)
    assert image["boxes"].units == image["height"].units == "pixel"
    assert image["maps"].meaning == "attention weights; a row sums to 1"
