"""Capture: what stands in the atlas is what the tested model attends to."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from attention_atlas.atlas import open_atlas
from attention_atlas.attention import record
from attention_atlas.config.validation import check_config
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build import build_task
from attention_atlas.pipeline.build_model import build_datamodule
from attention_atlas.pipeline.load_run import load_weights
from attention_atlas.pipeline.recording.batch_recorder import BatchRecorder, _first_valid
from attention_atlas.pipeline.recording.describe import choose_samples
from tests.pipeline.conftest import losses

CHOSEN = 6


@pytest.fixture(scope="module", params=["nlp", "vision", "speech"])
def run(request, tiny, run_training, compose_train, tmp_path_factory):
    """A trained run with 6 samples kept in full, and its model built anew."""
    folder = tmp_path_factory.mktemp(request.param)
    overrides = [*tiny[request.param], f"capture.num_samples={CHOSEN}", "capture.dtype=float32"]
    result = run_training(overrides, folder)
    config = compose_train(overrides, folder)
    datamodule = build_datamodule(config)
    task = build_task(config, datamodule).eval()
    load_weights(task.model, folder / "checkpoints" / "best.ckpt")
    return folder, result, datamodule, task


def test_the_atlas_holds_the_test_set_as_it_was_predicted(run) -> None:
    folder, result, datamodule, _ = run
    atlas = open_atlas(folder)
    assert sorted(atlas.sample_ids) == sorted(datamodule.datasets["test"].sample_ids)
    hits = [sample.label == sample.prediction for sample in atlas]
    assert np.mean(hits) == pytest.approx(result["test/accuracy"])
    assert atlas.finished
    assert atlas.config["seed"] == 0


def test_maps_are_those_of_the_tested_model(run) -> None:
    folder, _, datamodule, task = run
    atlas = open_atlas(folder)
    for raw in datamodule.loader("test", 3):
        batch = datamodule.prepare(raw, training=False)
        with torch.no_grad(), record(task.model, statistics=("entropy",)) as recording:
            logits = task(batch)
        layer, readout = "encoder.layers.0.attention", "readout.attention"
        for index, sample_id in enumerate(batch["sample_id"]):
            sample = atlas.sample(sample_id)
            valid = slice(None, sample.length)
            np.testing.assert_allclose(sample.logits, logits[index], atol=1e-5)
            row = recording.maps[readout][index, :, 0, valid]
            np.testing.assert_allclose(sample.readout, row, atol=1e-6)
            entropy = recording.statistics["entropy"][layer][index, :, valid].mean(-1)
            np.testing.assert_allclose(sample.entropy[0], entropy, atol=1e-5)
            if sample.has_maps:
                maps = recording.maps[layer][index, :, valid, valid]
                np.testing.assert_allclose(sample.maps[0], maps, atol=1e-6)
                np.testing.assert_allclose(sample.maps.sum(-1), 1, atol=1e-5)


def test_full_maps_are_kept_of_the_chosen_samples_only(run) -> None:
    folder, _, datamodule, _ = run
    atlas = open_atlas(folder)
    chosen = choose_samples(datamodule.datasets["test"], CHOSEN)
    assert {sample.sample_id for sample in atlas if sample.has_maps} == chosen
    other = next(sample for sample in atlas if not sample.has_maps)
    with pytest.raises(InputError):
        _ = other.maps


def test_inputs_can_be_drawn(run) -> None:
    folder, result, _, _ = run
    sample = open_atlas(folder)[0]
    assert len(sample.tokens) == sample.length == len(sample.boxes)
    if result["task"] == "nlp":
        spans = sample.boxes.astype(int)
        assert [sample.text[start:end] for start, end in spans] == sample.tokens
    elif result["task"] == "vision":
        assert sample.image.dtype == np.uint8
        assert sample.boxes.max() == 16
    else:
        assert sample.spectrogram.ndim == 2
        assert np.nanmax(sample.boxes[:, 2]) >= 0.5


class Labels:
    lengths = None

    def __init__(self, labels: list[int]) -> None:
        self.labels = labels
        self.sample_ids = [f"sample-{index}" for index in range(len(labels))]


def test_chosen_samples_are_stratified_and_fixed() -> None:
    dataset = Labels([index % 3 if index < 90 else 0 for index in range(200)])
    chosen = choose_samples(dataset, 30)
    label_of = dict(zip(dataset.sample_ids, dataset.labels, strict=True))
    assert Counter(label_of[sample_id] for sample_id in chosen) == {0: 10, 1: 10, 2: 10}

    backwards = Labels(dataset.labels[::-1])
    backwards.sample_ids = dataset.sample_ids[::-1]
    assert choose_samples(backwards, 30) == chosen
    assert choose_samples(dataset, None) == set(dataset.sample_ids)


@pytest.mark.parametrize(
    "overrides",
    [
        ["capture=full"],
        ["encoder.readout=cls"],
        ["encoder.readout=mean"],
        ["encoder.depth=0"],
        ["encoder.depth=0", "encoder.readout=mean"],
        ["attention=additive", "encoder.depth=2"],
        ["embedding.stem=linear", "attention.num_kv_heads=1"],
    ],
    ids=" ".join,
)
def test_every_kind_of_model_can_be_captured(overrides, tiny, run_training, tmp_path: Path) -> None:
    run_training([*tiny["vision"], "trainer.max_epochs=1", *overrides], tmp_path)
    atlas = open_atlas(tmp_path)
    sample = next(sample for sample in atlas if sample.has_maps)
    depth = len(atlas.layers)
    cls = "encoder.readout=cls" in overrides
    heads = 0 if "encoder.readout=mean" in overrides else 2
    assert sample.maps.shape == (depth, 2 if depth else 0, 16 + cls, 16 + cls)
    assert sample.readout.shape == (heads, 16 + cls)
    assert sample.tokens[:cls] == ["[CLS]"] * cls
    assert sample.stands_in_input.sum() == 16
    np.testing.assert_allclose(sample.readout.sum(-1), 1, atol=1e-3)
    if overrides == ["capture=full"]:
        assert all(sample.has_maps for sample in atlas)


def recorded_again(overrides, folder: Path, compose_train) -> dict[str, dict[str, torch.Tensor]]:
    """What `record` gives of each test sample, alone in its batch: rows and statistics."""
    config = compose_train(overrides, folder)
    datamodule = build_datamodule(config)
    task = build_task(config, datamodule).eval()
    load_weights(task.model, folder / "checkpoints" / "best.ckpt")
    statistics = ("entropy", "null_share")
    found = {}
    for raw in datamodule.loader("test", 1):
        batch = datamodule.prepare(raw, training=False)
        with torch.no_grad(), record(task.model, statistics=statistics) as recording:
            task(batch)
        readout = task.model.readout_layer
        layers = task.model.attention_layers
        found[batch["sample_id"][0]] = {
            "readout": recording.maps[readout][0, :, 0],
            "maps": torch.stack([recording.maps[layer][0] for layer in layers]),
        }
        for name, of in recording.statistics.items():
            found[batch["sample_id"][0]][name] = torch.stack([of[layer][0] for layer in layers])
            found[batch["sample_id"][0]][f"readout_{name}"] = of[readout][0, :, 0]
    return found


@pytest.mark.parametrize("task", ["nlp", "vision"])
@pytest.mark.parametrize("readout", ["attention", "cls"])
@pytest.mark.parametrize("variant", ["null_key", "differential"])
@pytest.mark.slow
def test_share_of_the_null_key_and_signs_are_captured(
    variant, readout, task, tiny, run_training, compose_train, tmp_path: Path
) -> None:
    overrides = [*tiny[task], "trainer.max_epochs=1", f"encoder.readout={readout}"]
    overrides += [f"attention.{variant}=true", "capture.num_samples=3", "capture.dtype=float32"]
    run_training(overrides, tmp_path)
    atlas = open_atlas(tmp_path)
    assert atlas.attributes.signed == (variant == "differential")
    again = recorded_again(overrides, tmp_path, compose_train)
    for sample in atlas:
        expected = again[sample.sample_id]
        np.testing.assert_allclose(sample.readout, expected["readout"], atol=1e-5)
        for name in ("readout_entropy", "readout_null_share"):
            if getattr(sample, name) is not None:
                np.testing.assert_allclose(getattr(sample, name), expected[name], atol=1e-4)
        np.testing.assert_allclose(sample.entropy, expected["entropy"].mean(-1), atol=1e-4)
        if sample.has_maps:
            np.testing.assert_allclose(sample.maps, expected["maps"], atol=1e-5)
        if variant == "null_key":
            np.testing.assert_allclose(
                sample.null_share, expected["null_share"].mean(-1), atol=1e-5
            )
            assert (sample.null_share > 0).all()
            total = sample.readout.sum(-1) + sample.readout_null_share
            np.testing.assert_allclose(total, 1, atol=1e-5)
        else:
            assert sample.null_share is None
    mapped = [atlas.sample(sample_id).maps for sample_id in atlas.mapped_sample_ids]
    assert any((maps < 0).any() for maps in mapped) == (variant == "differential")


def test_the_entropy_of_some_evenly_spaced_queries(tiny, run_training, tmp_path: Path) -> None:
    overrides = ["capture=full", "capture.dtype=float32", "capture.entropy_queries=5"]
    run_training([*tiny["vision"], "trainer.max_epochs=1", *overrides], tmp_path)
    for sample in open_atlas(tmp_path):
        rows = sample.maps[:, :, [0, 3, 6, 9, 12]]
        expected = -(rows * np.log(rows)).sum(-1).mean(-1)
        np.testing.assert_allclose(sample.entropy, expected, atol=1e-4)


def test_valid_tokens_are_moved_to_the_front() -> None:
    assert _first_valid(np.array([[True, True, False], [True, False, False]])) is None
    order = _first_valid(np.array([[True, False, True], [True, True, False]]))
    np.testing.assert_array_equal(order, [[0, 2, 1], [0, 1, 2]])


def test_capture_can_be_switched_off(tiny, run_training, tmp_path: Path) -> None:
    run_training([*tiny["vision"], "trainer.max_epochs=1", "capture=off"], tmp_path)
    assert not (tmp_path / "atlas.zarr").exists()
    with pytest.raises(InputError):
        open_atlas(tmp_path)


RANDOM = {"nlp": "augmentation=text", "vision": "augmentation=image", "speech": "seed=3"}
EPOCHS = ["trainer.max_epochs=4", "encoder.dropout=0.2", "trainer.log_every_n_steps=1"]
RECORDED = ["capture.num_samples=6", "capture.dtype=float32", "capture.every_n_epochs=2"]


@pytest.fixture(scope="module", params=["nlp", "vision", "speech"])
def followed(request, tiny, run_training, compose_train, tmp_path_factory):
    """A run whose epochs 1 and 3 are recorded, and which keeps the checkpoint of each epoch."""
    folder = tmp_path_factory.mktemp(request.param)
    training = [*tiny[request.param], *EPOCHS, RANDOM[request.param]]
    save = [
        "+callbacks.all._target_=lightning.pytorch.callbacks.ModelCheckpoint",
        "+callbacks.all.every_n_epochs=1",
        "+callbacks.all.save_top_k=-1",
        f"+callbacks.all.dirpath={folder}/all",
        "+callbacks.all.filename='{epoch}'",
        "+callbacks.all.auto_insert_metric_name=false",
    ]
    result = run_training([*training, *RECORDED, *save], folder)
    return folder, [*training, *RECORDED], training, result


@pytest.mark.slow
def test_epochs_are_recorded_with_the_weights_that_validation_used(followed, compose_train) -> None:
    folder, overrides, _, result = followed
    atlas = open_atlas(folder)
    config = compose_train(overrides, folder)
    datamodule = build_datamodule(config)
    task = build_task(config, datamodule).eval()
    assert atlas.epochs == [1, 3, 4]
    assert atlas.finished
    assert sorted(atlas.sample_ids) == sorted(datamodule.datasets["test"].sample_ids)
    assert {sample.split for sample in atlas} == {"test"}
    hits = [sample.label == sample.prediction for sample in atlas]
    assert np.mean(hits) == pytest.approx(result["test/accuracy"])
    layer, readout = "encoder.layers.0.attention", "readout.attention"
    for epoch in (1, 3):
        load_weights(task.model, folder / "all" / f"{epoch}.ckpt")
        found = {sample.sample_id: sample for sample in atlas.samples(epoch)}
        assert set(found) == choose_samples(datamodule.datasets["val"], 6)
        for raw in datamodule.loader("val", datamodule.eval_batch_size):
            batch = datamodule.prepare(raw, training=False)
            with torch.no_grad(), record(task.model, statistics=("entropy",)) as recording:
                logits = task(batch)
            for index, sample_id in enumerate(batch["sample_id"]):
                sample = found.pop(sample_id, None)
                if sample is None:
                    continue
                valid = slice(None, sample.length)
                assert sample.split == "val"
                assert sample.label == int(batch["label"][index])
                np.testing.assert_allclose(sample.logits, logits[index], atol=1e-5)
                row = recording.maps[readout][index, :, 0, valid]
                np.testing.assert_allclose(sample.readout, row, atol=1e-6)
                maps = recording.maps[layer][index, :, valid, valid]
                np.testing.assert_allclose(sample.maps[0], maps, atol=1e-6)
                entropy = recording.statistics["entropy"][layer][index, :, valid].mean(-1)
                np.testing.assert_allclose(sample.entropy[0], entropy, atol=1e-5)
        assert not found


def test_recording_epochs_changes_no_bit_of_the_training(
    followed, run_training, tmp_path: Path
) -> None:
    folder, _, training, result = followed
    plain = run_training([*training, "capture=off"], tmp_path)
    assert not (tmp_path / "atlas.zarr").exists()
    assert losses(folder) == losses(tmp_path)
    for name in ("test/loss", "val/accuracy"):
        assert result[name] == plain[name]
    recorded, other = (
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
        for path in (folder, tmp_path)
    )
    for name in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
        assert_same_bits(recorded[name], other[name], name)
    for content in (recorded, other):
        del content["callbacks"]["RngState"]["cuda"]
    assert_same_bits(
        recorded["callbacks"]["RngState"], other["callbacks"]["RngState"], "random states"
    )


def assert_same_bits(one: object, other: object, where: str) -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same_bits(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same_bits(left, right, f"{where}[{index}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def test_a_resumed_run_records_the_epochs_that_are_left(
    followed, run_training, tmp_path: Path
) -> None:
    folder, overrides, _, result = followed
    again = run_training([*overrides, f"ckpt_path={folder}/all/1.ckpt"], tmp_path)
    assert again["test/loss"] == result["test/loss"]
    whole, resumed = open_atlas(folder), open_atlas(tmp_path)
    assert resumed.epochs == [3, 4]
    for epoch in (3, 4):
        for sample in resumed.samples(epoch):
            before = whole.sample(sample.sample_id, epoch)
            np.testing.assert_array_equal(sample.logits, before.logits)
            np.testing.assert_array_equal(sample.readout, before.readout)
            assert sample.has_maps == before.has_maps
            if sample.has_maps:
                np.testing.assert_array_equal(sample.maps, before.maps)


def test_digests_are_kept_on_request(tiny, run_training, tmp_path: Path) -> None:
    overrides = ["capture.digests=true", "capture.every_n_epochs=1"]
    run_training([*tiny["vision"], *overrides], tmp_path)
    atlas = open_atlas(tmp_path)
    assert atlas.epochs == [0, 1, 2]
    assert str(atlas.verify()).endswith("are as written.")


def test_model_is_left_as_it_was_when_a_batch_fails(tiny, compose_train, tmp_path: Path) -> None:
    config = compose_train([*tiny["vision"], "capture=full"], tmp_path)
    datamodule = build_datamodule(config)
    model = build_task(config, datamodule).eval().model
    recorder = BatchRecorder({datamodule.datasets["test"].sample_ids[0]}, True, False)
    batch = datamodule.prepare(next(iter(datamodule.loader("test", 4))), training=False)
    recorder.open(model, batch)
    assert model._forward_hooks
    recorder.discard()
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["capture.every_n_epochs=3"], "is more than trainer.max_epochs=2"),
        (["capture.every_n_epochs=0"], "take an integer, 1 or more, or null"),
        (["capture.every_n_epochs=1", "capture.num_samples=0"], "and that is 0"),
        (
            ["capture.every_n_epochs=1", "+trainer.check_val_every_n_epoch=2"],
            "asks for epochs that are not validated",
        ),
        (
            ["capture.every_n_epochs=1", "+trainer.val_check_interval=0.5"],
            "validates within it",
        ),
        (["capture.digests=2"], "take true or false"),
    ],
)
def test_what_cannot_be_recorded_is_refused(overrides, words, tiny, compose_train) -> None:
    config = compose_train([*tiny["vision"], *overrides], Path("run"))
    with pytest.raises(InputError, match=f"capture.*{words}"):
        check_config(config, {})


@pytest.mark.parametrize("task", ["vision", "speech"])
def test_maps_are_as_large_as_what_has_one_size_needs(
    trained_runs: dict[str, Path], task: str
) -> None:
    maps = zarr.open_group(trained_runs[task] / "atlas.zarr", mode="r")["rank-0/maps"]
    length = open_atlas(trained_runs[task])[0].length
    assert maps.shape[-2:] == maps.chunks[-2:] == (length, length)
