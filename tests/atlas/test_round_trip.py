"""What is written is read back, whatever the modality, the sizes and the characters."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray
import zarr

from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases
from tests.made_atlases import assert_same


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
@pytest.mark.parametrize("maps_dtype", ["float16", "float32"])
def test_samples_of_several_flushes_come_back_in_order(tmp_path, task, maps_dtype):
    written = [made_atlases.sample(task, i, maps=i % 3 == 0) for i in range(21)]
    path = tmp_path / "atlas.zarr"
    with AtlasWriter(
        path, made_atlases.attributes(task), maps_dtype=maps_dtype, rows_per_flush=8
    ) as writer:
        writer.add(written[:10])
        writer.add(written[10:])
    atlas = open_atlas(path)
    assert len(atlas) == 21
    assert atlas.finished
    assert atlas.sample_ids == [sample.sample_id for sample in written]
    assert atlas.mapped_sample_ids == [s.sample_id for s in written if s.maps is not None]
    for read, sample in zip(atlas, written, strict=True):
        assert_same(read, sample, maps_dtype)
    # In any order, too: a sample is found without its neighbours having been read.
    for index in (20, 3, -1, 8):
        assert_same(atlas[index], written[index], maps_dtype)


def test_statistics_and_readout_rows_are_float32_beside_float16_maps(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "nlp"))
    assert atlas[0].maps.dtype == np.float16
    for name in ("readout", "readout_entropy", "entropy", "logits"):
        assert getattr(atlas[0], name).dtype == np.float32


def test_sample_with_its_readout_row_only_says_so(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "nlp", count=4, mapped=2))
    assert atlas[3].readout.shape == (4, atlas[3].length)
    with pytest.raises(InputError, match="'nlp-0003' has only its readout row stored"):
        _ = atlas[3].maps


def test_share_of_the_null_key_is_kept_beside_the_rows(tmp_path):
    written = [made_atlases.sample("nlp", i, maps=i < 2, variant="null_key") for i in range(5)]
    attributes = made_atlases.attributes("nlp", variant="null_key")
    with AtlasWriter(tmp_path, attributes, maps_dtype="float32", rows_per_flush=2) as writer:
        writer.add(written)
    atlas = open_atlas(tmp_path)
    for read, sample in zip(atlas, written, strict=True):
        assert_same(read, sample, "float32")
        np.testing.assert_array_equal(read.null_share, sample.null_share)
        np.testing.assert_array_equal(read.readout_null_share, sample.readout_null_share)
        np.testing.assert_allclose(read.readout.sum(-1) + read.readout_null_share, 1, rtol=1e-5)
        if read.has_maps:
            total = read.maps.sum(-1) + read.null_share[..., None]
            np.testing.assert_allclose(total, 1, rtol=1e-5)
    dataset = atlas.to_xarray()
    assert dataset["null_share"].dims == ("sample", "layer", "head")
    shares = dataset["null_share"].sel(sample="nlp-0003", layer=atlas.layers[1]).values
    np.testing.assert_array_equal(shares, written[3].null_share[1])
    shares = dataset["readout_null_share"].sel(sample="nlp-0003").values
    np.testing.assert_array_equal(shares, written[3].readout_null_share)
    assert (
        "weight of the null key" in zarr.open_array(tmp_path / "rank-0" / "maps").attrs["meaning"]
    )


def test_there_is_no_share_without_a_null_key(tmp_path):
    run = made_atlases.write(tmp_path, "nlp")
    atlas = open_atlas(run)
    assert atlas[0].null_share is None
    assert atlas[0].readout_null_share is None
    assert "null_share" not in atlas.to_xarray()
    assert not list((run / "atlas.zarr" / "rank-0").glob("*null_share"))


@pytest.mark.parametrize(("atlas_has", "sample_has"), [("null_key", None), (None, "null_key")])
def test_null_key_of_the_sample_or_the_atlas_only_is_refused(tmp_path, atlas_has, sample_has):
    writer = AtlasWriter(tmp_path, made_atlases.attributes("nlp", variant=atlas_has))
    with pytest.raises(ValueError, match=r"'nlp-0001' has (no|a) null_share, but the atlas is of"):
        writer.add([made_atlases.sample("nlp", 1, variant=sample_has)])


def test_signed_weights_keep_their_signs(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "nlp", variant="differential"))
    made = made_atlases.sample("nlp", 1, variant="differential")
    assert atlas.attributes.signed
    assert atlas[1].signed
    assert (made.maps < 0).any()
    assert atlas[1].maps.dtype == np.float16
    assert_same(atlas[1], made)
    np.testing.assert_allclose(atlas[1].readout.sum(-1), 1 - made_atlases.LAMBDA, rtol=1e-5)
    assert "negative" in zarr.open_array(atlas.path / "rank-0" / "maps").attrs["meaning"]


def test_atlas_of_before_there_were_signs_is_not_signed(tmp_path):
    run = made_atlases.write(tmp_path, "nlp")
    metadata = run / "atlas.zarr" / "zarr.json"
    content = json.loads(metadata.read_text())
    assert content["attributes"].pop("signed") is False
    metadata.write_text(json.dumps(content))
    assert open_atlas(run).attributes.signed is False


def test_rows_of_a_window_take_next_to_no_space(tmp_path):
    made = made_atlases.sample("nlp", 39)
    keys = np.arange(len(made.boxes))
    far = np.abs(keys[:, None] - keys) > 2
    in_window = replace(made, maps=np.where(far, 0, made.maps))
    sizes = []
    for sample in (made, in_window):
        path = tmp_path / str(len(sizes))
        with AtlasWriter(path, made_atlases.attributes("nlp"), max_tokens=64) as writer:
            writer.add([sample])
        (chunk,) = (path / "rank-0" / "maps").glob("c.*")
        sizes.append(chunk.stat().st_size)
    (read,) = open_atlas(tmp_path / "1")
    assert (read.maps[..., far] == 0).all()
    assert sizes[1] < sizes[0] / 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Zoë's naïve 😀 film",
        "映画はとても良い",
        "e\u0301 \u202eabc \x00 \n\t\x1b[31m",
        "a" * 5000,
    ],
)
def test_any_text_comes_back(tmp_path, text):
    spans = np.array([[start, start + 1] for start in range(min(len(text), 100))]).reshape(-1, 2)
    made = replace(
        made_atlases.sample("nlp", 1),
        sample_id=f"id-{text[:40]}",
        text=text,
        boxes=spans,
        groups={text[:20]: text},
        readout=np.ones((4, len(spans)), dtype=np.float32),
        maps=None,
    )
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp")) as writer:
        writer.add([made])
    (read,) = open_atlas(tmp_path)
    assert_same(read, made)
    assert read.tokens == list(text[:100])


def test_lone_surrogate_is_replaced_and_keeps_the_spans(tmp_path):
    made = replace(made_atlases.sample("nlp", 0), text="a\ud800c" + "x" * 40)
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp")) as writer:
        writer.add([made])
    assert open_atlas(tmp_path)[0].text == "a?c" + "x" * 40


def test_depth_zero_keeps_the_readout(tmp_path):
    made = made_atlases.sample("nlp", 4, layers=0, heads=4)
    made.entropy, made.maps = np.zeros((0, 0)), np.zeros((0, 0, 7, 7))
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp", layers=0)) as writer:
        writer.add([made, replace(made, sample_id="other", maps=None)])
    atlas = open_atlas(tmp_path)
    assert atlas.layers == []
    np.testing.assert_array_equal(atlas[0].readout, made.readout)
    assert atlas[0].entropy.shape == (0, 0)
    assert atlas[0].maps.shape == (0, 0, 7, 7)
    assert atlas.to_xarray().sizes["layer"] == 0


def test_run_without_an_attention_readout_has_no_readout_rows(tmp_path):
    made = made_atlases.sample("vision", 0)
    made.readout, made.readout_entropy = np.zeros((0, 49)), np.zeros(0)
    with AtlasWriter(tmp_path, made_atlases.attributes("vision")) as writer:
        writer.add([made])
    assert open_atlas(tmp_path)[0].readout.shape == (0, 49)


def test_tokens_longer_than_expected_are_kept_in_more_chunks(tmp_path):
    numbers = [0, 30, 2, 39, 1]
    written = [made_atlases.sample("nlp", number) for number in numbers]
    with AtlasWriter(
        tmp_path, made_atlases.attributes("nlp"), max_tokens=8, rows_per_flush=2
    ) as writer:
        writer.add(written)
    for read, sample in zip(open_atlas(tmp_path), written, strict=True):
        assert_same(read, sample)


def test_maps_of_large_samples_are_cut_into_layers(tmp_path):
    made = made_atlases.sample("nlp", 39)
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp"), max_tokens=600) as writer:
        writer.add([made])
    assert zarr.open_array(str(tmp_path / "rank-0" / "maps")).chunks == (1, 1, 4, 600, 600)
    assert_same(open_atlas(tmp_path)[0], made)


def test_special_tokens_without_a_box(tmp_path):
    text, image = made_atlases.sample("nlp", 0), made_atlases.sample("vision", 0)
    for made in (text, image):
        made.boxes = made.boxes.astype(np.float32)
        made.boxes[0] = np.nan
    for task, made in (("nlp", text), ("vision", image)):
        with AtlasWriter(tmp_path / task, made_atlases.attributes(task)) as writer:
            writer.add([made])
        (read,) = open_atlas(tmp_path / task)
        assert read.tokens[0] == ""
        assert read.tokens[1] != ""
        assert (~read.stands_in_input).nonzero()[0].tolist() == [0]


def test_special_tokens_are_shown_by_their_names(tmp_path):
    made = made_atlases.sample("nlp", 5)
    made.boxes[[0, 2, -1]] = 0  # in the middle, a blank of a byte-level tokenizer
    names = {"leading_tokens": ["[CLS]"], "trailing_tokens": ["[SEP]"]}
    attributes = replace(made_atlases.attributes("nlp"), **names)
    with AtlasWriter(tmp_path, attributes) as writer:
        writer.add([made])
    (named,) = open_atlas(tmp_path)
    assert [named.tokens[token] for token in (0, 2, -1)] == ["[CLS]", "", "[SEP]"]
    assert (~named.stands_in_input).nonzero()[0].tolist() == [0, 2, named.length - 1]


def test_epochs_are_kept_apart_and_the_last_one_is_shown(tmp_path):
    with AtlasWriter(tmp_path, made_atlases.attributes("nlp"), rows_per_flush=4) as writer:
        for epoch in (0, 2):
            for number in range(3):
                made = made_atlases.sample("nlp", number, epoch=epoch)
                writer.add([replace(made, logits=made.logits + epoch)])
    atlas = open_atlas(tmp_path)
    assert atlas.epochs == [0, 2]
    assert len(atlas) == 3
    assert {sample.epoch for sample in atlas} == {2}
    early, late = (atlas.sample("nlp-0001", epoch=epoch) for epoch in (0, 2))
    np.testing.assert_array_equal(early.logits + 2, late.logits)
    with pytest.raises(InputError, match=r"no epoch 1: it has 0, 2\."):
        atlas.sample("nlp-0001", epoch=1)


def test_repeated_ids_are_dropped_and_counted(tmp_path):
    # The last rank starts first, as it may when processes race.
    shares = {2: [2, 5, 0], 0: [0, 3, 1], 1: [1, 4, 4]}
    for rank, numbers in shares.items():
        with AtlasWriter(tmp_path, made_atlases.attributes("nlp"), rank=rank) as writer:
            writer.add(made_atlases.sample("nlp", number) for number in numbers)
    atlas = open_atlas(tmp_path)
    assert atlas.sample_ids == [f"nlp-{number:04d}" for number in (0, 3, 1, 4, 2, 5)]
    assert atlas.num_repeated == 3
    for sample in atlas:
        assert_same(sample, made_atlases.sample("nlp", int(sample.sample_id[-4:])))


def test_attributes_come_back_as_plain_json(tmp_path):
    config = {"lr": 1e-3, "best": float("inf"), "folder": tmp_path, "sizes": (1, 2), 3: None}
    attributes = replace(made_atlases.attributes("nlp"), config=config, checkpoint_digest="ab")
    with AtlasWriter(tmp_path / "atlas.zarr", attributes) as writer:
        writer.add([made_atlases.sample("nlp", 0)])
    atlas = open_atlas(tmp_path)
    assert atlas.config == {
        "lr": 1e-3,
        "best": "Infinity",
        "folder": tmp_path.as_posix(),
        "sizes": [1, 2],
        "3": None,
    }
    assert (atlas.task, atlas.data, atlas.classes[1]) == ("nlp", "movie_reviews", "positive")
    assert atlas.attributes.checkpoint_digest == "ab"
    assert atlas.attributes.versions["zarr"] == zarr.__version__


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_plain_zarr_and_xarray_read_it(tmp_path, task):
    run = made_atlases.write(tmp_path, task, count=5, mapped=2)
    written = made_atlases.sample(task, 1)
    keys = len(written.boxes)
    group = zarr.open_group(str(run / "atlas.zarr" / "rank-0"), mode="r")
    assert group["sample_id"][:].tolist() == [f"{task}-{i:04d}" for i in range(5)]
    np.testing.assert_array_equal(group["readout"][1, :, :keys], written.readout)
    dataset = xarray.open_zarr(run / "atlas.zarr" / "rank-0", consolidated=False, chunks=None)
    assert dataset["maps"].dims == ("sample", "layer", "head", "query", "key")
    np.testing.assert_array_equal(
        dataset["maps"][1, :, :, :keys, :keys], written.maps.astype(np.float16)
    )
    assert np.isnan(dataset["maps"][4]).all()


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_to_xarray_is_labelled_and_reads_maps_when_used(tmp_path, task):
    atlas = open_atlas(made_atlases.write(tmp_path, task, count=5, mapped=2))
    dataset = atlas.to_xarray()
    assert dataset["sample"].values.tolist() == atlas.sample_ids
    assert dataset["class"].values.tolist() == atlas.classes
    assert dataset["layer"].values.tolist() == atlas.layers
    one = dataset.sel(sample=f"{task}-0003")
    np.testing.assert_array_equal(
        one["readout"].dropna("key").values, atlas.sample(f"{task}-0003").readout
    )
    assert not dataset["maps"].variable._in_memory
    maps = dataset["maps"].sel(mapped_sample=f"{task}-0001")
    keys = atlas[1].length
    np.testing.assert_array_equal(maps[:, :, :keys, :keys], atlas[1].maps)
    assert np.isnan(maps[:, :, keys:]).all()
    np.testing.assert_array_equal(
        dataset["maps"][:, 1, 2, 0, 0].values[1], atlas[1].maps[1, 2, 0, 0]
    )
    assert dataset["maps"][:0].shape[0] == dataset["maps"][:0].values.shape[0] == 0
    if task == "nlp":
        assert dataset["group_source"].values.tolist() == ["part 0", "part 1"] * 2 + ["part 0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"readout": np.ones((4, 3))}, "readout has shape"),
        ({"logits": np.ones(7)}, "logits has shape"),
        ({"entropy": np.ones((1, 4))}, "entropy has shape"),
        ({"image": None}, "has no image"),
        ({"image": np.zeros((9, 9, 1), np.uint8)}, "image has shape"),
        ({"sample_id": ""}, "sample_id"),
        ({"epoch": -1}, "epochs count from 0"),
    ],
)
def test_sample_that_does_not_fit_is_refused(tmp_path, change, message):
    writer = AtlasWriter(tmp_path, made_atlases.attributes("vision"))
    writer.add([made_atlases.sample("vision", 0)])
    with pytest.raises(ValueError, match=message):
        writer.add([replace(made_atlases.sample("vision", 1), **change)])
