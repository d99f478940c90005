"""Every variant of attention learns, and gives maps, in all three tasks."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import open_dict
from torch import Tensor

from attention_atlas.atlas import open_atlas
from attention_atlas.attention import Recording, record
from attention_atlas.attention_options import describe_mechanism
from attention_atlas.config.validation import check_config
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.pipeline.build import build_task
from attention_atlas.pipeline.build_model import build_datamodule
from attention_atlas.tasks import ClassificationTask
from attention_atlas.tasks.optimization import parameter_groups

BATCH = 6
SIZES = ["encoder.embed_dim=32", "encoder.num_heads=4", "encoder.depth=2", "embedding.dropout=0"]

VARIANTS = {
    "plain": [],
    "grouped heads": ["attention.num_kv_heads=2"],
    "one head of keys": ["attention.num_kv_heads=1"],
    "rotary": ["attention.rotary=true"],
    "rotary alone tells places": ["attention.rotary=true", "embedding.positions=none"],
    "rotary and cls": ["attention.rotary=true", "encoder.readout=cls"],
    "window": ["attention.window=3"],
    "window and mean": ["attention.window=1", "encoder.readout=mean"],
    "gate of heads": ["attention.gate=headwise"],
    "gate of values": ["attention.gate=elementwise"],
    "null key": ["attention.null_key=true"],
    "differential": ["attention.differential=true"],
    "linear": ["attention.linear=true"],
    "linear, gated, grouped": [
        *("attention.linear=true", "attention.gate=headwise", "attention.num_kv_heads=2")
    ],
    "cosine with all that goes": [
        *("attention=cosine", "attention.rotary=true", "attention.window=2"),
        *("attention.gate=elementwise", "attention.num_kv_heads=2", "attention.null_key=true"),
    ],
    "differential with all that goes": [
        *("attention=dot", "attention.differential=true", "attention.rotary=true"),
        *("attention.window=2", "attention.gate=headwise", "attention.num_kv_heads=2"),
    ],
    "multiplicative, null key": ["attention=multiplicative", "attention.null_key=true"],
    "additive, null key": ["attention=additive", "attention.null_key=true"],
    "additive, window": ["attention=additive", "attention.window=2"],
    "additive, differential": ["attention=additive", "attention.differential=true"],
}

Build = Callable[[list[str]], ClassificationTask]
Prepared = tuple[Build, AtlasDataModule]


@pytest.fixture(scope="module")
def prepare(tiny, compose_train, tmp_path_factory) -> Callable[..., Prepared]:
    """What builds a task's model from its composed config, and the data that it is for."""

    @cache
    def prepared(task: str, *options: str) -> Prepared:
        folder = tmp_path_factory.mktemp("variants")
        overrides = [*tiny[task], *SIZES, *options]
        composed = cache(lambda *variant: compose_train([*overrides, *variant], folder))
        datamodule = build_datamodule(composed())

        def build(variant: list[str]) -> ClassificationTask:
            torch.manual_seed(0)
            return build_task(composed(*variant), datamodule)

        return build, datamodule

    return prepared


@pytest.fixture(scope="module", params=["nlp", "vision", "speech"])
def real(request, prepare: Callable[..., Prepared]) -> Prepared:
    return prepare(request.param)


def batch_of(datamodule: AtlasDataModule, split: str) -> dict[str, Any]:
    raw = next(iter(datamodule.loader(split, BATCH)))
    return datamodule.prepare(raw, training=split == "train")


def recorded(task: ClassificationTask, batch: dict[str, Any]) -> tuple[Recording, Tensor]:
    with torch.no_grad(), record(task.model) as recording:
        logits = task.eval()(batch)
    return recording, logits


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.slow
def test_every_parameter_learns(real, name: str) -> None:
    build, datamodule = real
    task = build(VARIANTS[name]).train()
    optimizer = torch.optim.AdamW(parameter_groups(task.model, 0.1), lr=1e-2)
    batch = batch_of(datamodule, "train")
    target = batch.get("target", batch["label"])
    first = None
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(task(batch), target)
        loss.backward()
        optimizer.step()
        first = loss.item() if first is None else first
    assert math.isfinite(loss.item())
    assert loss.item() < first
    for parameter_name, parameter in task.model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            assert "pair" in parameter_name or parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.slow
def test_maps_are_rows_over_valid_keys(real, name: str) -> None:
    build, datamodule = real
    task = build(VARIANTS[name])
    batch = batch_of(datamodule, "test")
    recording, _ = recorded(task, batch)
    model, valid = task.model, task.model.token_layout(batch).valid
    num_tokens = valid.shape[1]
    readout = [] if model.readout_layer in (None, model.attention_layers[-1]) else ["readout"]
    assert list(recording.maps) == [*model.attention_layers, *(f"{r}.attention" for r in readout)]
    for layer, maps in recording.maps.items():
        num_queries = 1 if layer.startswith("readout") else num_tokens
        assert maps.shape == (BATCH, 4, num_queries, num_tokens)
        assert maps.dtype == torch.float32
        assert maps.isfinite().all()
        assert not maps.transpose(1, 3)[~valid].any()  # padding is never attended to
        # A window around padding may hold no valid key, and such a row is zeros.
        rows = valid if num_queries > 1 else valid[:, :1]
        check_sums(maps.transpose(1, 2)[rows], VARIANTS[name])


def check_sums(maps: Tensor, variant: list[str]) -> None:
    """Rows sum to 1; to less with a null key; to the same number where two maps are subtracted."""
    sums = maps.sum(-1)
    if "attention.differential=true" in variant:
        torch.testing.assert_close(sums, sums.mean().expand_as(sums), atol=1e-5, rtol=0)
        assert sums.max() < 1
    elif "attention.null_key=true" in variant:
        assert maps.min() >= 0
        assert 0 < sums.min() <= sums.max() < 1
    else:
        assert maps.min() >= 0
        torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.slow
def test_neighbours_in_a_batch_and_padding_change_nothing(real, name: str) -> None:
    build, datamodule = real
    task = build(VARIANTS[name])
    batch = batch_of(datamodule, "test")
    _, logits = recorded(task, batch)
    for index in range(BATCH):
        alone = {key: value[index : index + 1] for key, value in batch.items() if key != "groups"}
        if datamodule.modality == "text":
            length = int(alone["lengths"])
            alone = {key: cut(key, value, length) for key, value in alone.items()}
        _, logits_alone = recorded(task, alone)
        torch.testing.assert_close(logits_alone, logits[index : index + 1], atol=1e-5, rtol=1e-4)


def cut(key: str, value: Any, length: int) -> Any:
    return value[:, :length] if key in ("inputs", "spans") else value


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize(
    "options", [["nlp"], ["vision"], ["speech"], ["speech", "embedding=time_frequency"]], ids=str
)
def test_a_window_shows_the_neighbours_along_each_axis(options, window: int, prepare) -> None:
    build, datamodule = prepare(*options)
    task = build([f"attention.window={window}"])
    batch = batch_of(datamodule, "test")
    recording, _ = recorded(task, batch)
    valid = task.model.token_layout(batch).valid
    axes = [torch.arange(size) for size in task.model.embedding(batch).grid]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
    near = ((places[:, None] - places).abs() <= window).all(-1)
    for layer in task.model.attention_layers:
        maps, bands = recording.maps[layer], recording.bands[layer]
        assert torch.equal(maps > 0, (near & valid[:, None, :])[:, None].expand_as(maps))
        assert bands.shape == (*maps.shape[:3], (2 * window + 1) ** len(axes))
        torch.testing.assert_close(bands.sum(-1), maps.sum(-1))
    assert (recording.maps["readout.attention"].transpose(1, 3)[valid] > 0).all()


@pytest.mark.parametrize(
    "option", ["attention.rotary=true", "attention.window=2", "attention.null_key=true"]
)
def test_an_option_without_parameters_changes_the_logits(real, option: str) -> None:
    build, datamodule = real
    batch = batch_of(datamodule, "test")
    plain, variant = build([]), build([option])
    assert variant.state_dict().keys() == plain.state_dict().keys()
    variant.load_state_dict(plain.state_dict())
    _, logits = recorded(plain, batch)
    _, changed = recorded(variant, batch)
    assert (logits - changed).abs().max() > 1e-4


@pytest.mark.parametrize("capture", ["default", "full"])
@pytest.mark.parametrize("name", ["differential", "null key", "window", "linear"])
def test_a_run_keeps_the_maps_of_a_variant(
    name, capture, tiny, run_training, tmp_path: Path
) -> None:
    overrides = [*tiny["vision"], *SIZES, "trainer.max_epochs=1", f"capture={capture}"]
    result = run_training([*overrides, "capture.dtype=float32", *VARIANTS[name]], tmp_path)
    assert math.isfinite(result["test/loss"])
    atlas = open_atlas(tmp_path)
    assert atlas.finished
    assert len(atlas) == result["num_test_samples"]
    sample = next(sample for sample in atlas if sample.has_maps)
    assert sample.maps.shape == (2, 4, 16, 16)
    assert sample.readout.shape == (4, 16)
    assert np.isfinite(sample.entropy).all()
    for rows in (sample.maps[0], sample.maps[1], sample.readout[:, None]):
        check_sums(torch.tensor(np.asarray(rows))[None], VARIANTS[name])


def test_a_run_of_before_the_variants_is_checked_like_any(tiny, compose_train, tmp_path) -> None:
    """`evaluate.py` takes the config that such a run kept, in which the options are missing."""
    config = compose_train(tiny["vision"], tmp_path)
    config.run_folder = str(tmp_path)
    with open_dict(config):
        for option in ("rotary", "window", "gate", "null_key", "differential", "linear", "compile"):
            del config.attention[option]
    check_config(config, {}, complete=False)
    assert describe_mechanism(config.attention) == "scaled_dot"
