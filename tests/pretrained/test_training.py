"""`encoder=pretrained` in all three tasks: real runs of tiny models, read back and explained."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from attention_atlas.analysis.attributions import METHODS, attribute
from attention_atlas.analysis.faithfulness.removal import build_removal
from attention_atlas.atlas import open_atlas
from attention_atlas.attention import record
from attention_atlas.errors import InputError
from attention_atlas.pipeline.faithfulness import head_importance_of, measure_run
from attention_atlas.pipeline.load_run import LoadedRun, load_run
from tests.commands import invoke_atlas, run_script

OPTIONS = ["trainer.max_epochs=2", "data.batch_size=16", "capture.dtype=float32"]
KINDS = ["bert", "vit", "wav2vec2", "ast"]


@pytest.fixture(scope="session")
def overrides(
    tiny_bert, tiny_vit, tiny_wav2vec2, tiny_ast, reviews, pictures, sounds
) -> dict[str, list[str]]:
    """Overrides that train each kind of encoder in seconds."""
    nlp = ["task=nlp", "data=csv", f"data.path={reviews}"]
    vision = ["task=vision", "data=image_folder", f"data.path={pictures}"]
    speech = ["task=speech", "data=audio_folder", f"data.path={sounds}"]
    return {
        kind: [*task, "encoder=pretrained", f"encoder.name={folder}", *OPTIONS]
        for kind, task, folder in (
            ("bert", nlp, tiny_bert),
            ("vit", vision, tiny_vit),
            ("wav2vec2", speech, tiny_wav2vec2),
            ("ast", speech, tiny_ast),
        )
    }


@pytest.fixture(scope="session")
def runs(overrides, run_training, tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a finished run of a kind of encoder, trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("pretrained-runs")

    def of(kind: str) -> Path:
        if not (folder / kind / "result.json").is_file():
            run_training(overrides[kind], folder / kind)
        return folder / kind

    return of


def test_a_learning_rate_is_looked_for_beside_a_frozen_encoder(
    overrides, run_training, capsys, tmp_path: Path
) -> None:
    run_training([*overrides["bert"], "encoder.freeze=all", "lr_find=true"], tmp_path)
    assert "learning rate found" in capsys.readouterr().out


@pytest.mark.slow
def test_a_frozen_encoder_is_trained_without_a_warning(overrides, tmp_path) -> None:
    done = run_script(["train.py", *overrides["bert"], "encoder.freeze=all"], tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""


def batch_of(run: LoadedRun) -> dict:
    return next(run.batches(sorted(run.datamodule.datasets["test"].sample_ids)[:6], 6))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_rebuilt_without_the_folder_of_its_encoder(
    kind, runs, overrides, run_training, tmp_path
) -> None:
    """A run folder holds all that it takes: tokenizer or features, config, weights."""
    source = Path(next(o for o in overrides[kind] if "encoder.name" in o).split("=")[1])
    moved = tmp_path / "encoder"
    shutil.copytree(source, moved)
    here = [o for o in overrides[kind] if "encoder.name" not in o] + [f"encoder.name={moved}"]
    folder = tmp_path / "run"
    run_training([*here, "trainer.max_epochs=1"], folder)
    shutil.rmtree(moved)
    run = load_run(folder, with_data=True)
    with torch.no_grad():
        logits = run.model(batch_of(run))
    kept = open_atlas(folder)
    for sample_id, row in zip(batch_of(run)["sample_id"], logits, strict=True):
        np.testing.assert_allclose(kept.sample(sample_id).logits, row.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_atlas_holds_the_maps_of_the_eager_model(kind, runs) -> None:
    run = load_run(runs(kind), with_data=True)
    batch = batch_of(run)
    backbone = run.model.encoder.backbone
    backbone.model.set_attn_implementation("eager")
    with torch.no_grad():
        inputs = run.model.encoder.inputs(batch)
        attentions = backbone.model(**inputs, output_attentions=True).attentions
    atlas = open_atlas(runs(kind))
    compared = 0
    for place, sample_id in enumerate(batch["sample_id"]):
        sample = atlas.sample(sample_id)
        size = sample.length
        for layer, attention in zip(sample.maps, attentions, strict=True):
            np.testing.assert_allclose(layer, attention[place, :, :size, :size], atol=1e-5)
            compared += 1
    assert compared == 6 * len(attentions)


@pytest.mark.parametrize(
    ("kind", "readout"),
    [
        (kind, readout)
        for kind in KINDS
        for readout in ("attention", "cls", "mean")
        if (kind, readout) != ("wav2vec2", "cls")  # it has no such token
    ],
)
def test_every_attribution_explains_it(kind, readout, overrides, compose_train, tmp_path) -> None:
    from attention_atlas.pipeline.build import build_task
    from attention_atlas.pipeline.build_model import build_datamodule

    torch.manual_seed(0)
    config = compose_train([*overrides[kind], f"encoder.readout={readout}"], tmp_path)
    datamodule = build_datamodule(config)
    model = build_task(config, datamodule).eval().model
    batch = datamodule.prepare(datamodule.datasets["test"].__getitems__([0, 1, 2]), False)
    reference = build_removal(datamodule).all(batch, model.token_layout(batch))
    methods = [name for name in METHODS if not (name == "readout" and readout == "mean")]
    found = attribute(model, batch, methods, reference=reference)
    valid = model.token_layout(batch).valid
    for name, values in found.items():
        assert values.shape == valid.shape, name
        assert values.isfinite().all(), name
        assert values[~valid].count_nonzero() == 0, name
    change = (model(batch) - model(reference)).detach()
    target = model(batch).argmax(-1)
    expected = change.gather(1, target[:, None])[:, 0]
    integrated = found["integrated_gradients"].sum(1)
    torch.testing.assert_close(integrated, expected, rtol=0.05, atol=1e-3)


def test_value_norms_take_the_output_projection_of_the_model(
    tiny_bert, reviews, compose_train, tmp_path
) -> None:
    """Of the CLS token in the last layer, written out."""
    from attention_atlas.pipeline.build import build_task
    from attention_atlas.pipeline.build_model import build_datamodule

    chosen = ["task=nlp", "data=csv", f"data.path={reviews}", "encoder=pretrained"]
    config = compose_train([*chosen, f"encoder.name={tiny_bert}", "encoder.readout=cls"], tmp_path)
    datamodule = build_datamodule(config)
    model = build_task(config, datamodule).eval().model
    batch = datamodule.prepare(datamodule.datasets["test"].__getitems__([0]), False)
    bert = model.encoder.backbone.model
    with torch.no_grad():
        out = bert(**model.encoder.inputs(batch), output_hidden_states=True)
        with record(bert, layers=-1) as recording:
            bert(**model.encoder.inputs(batch))
        layer = bert.encoder.layer[-1].attention
        values = layer.self.value(out.hidden_states[-2]).unflatten(2, (4, 8)).transpose(1, 2)
        weights = next(iter(recording.maps.values()))[:, :, 0, :, None]
        sent = (weights * values).transpose(1, 2).flatten(2) @ layer.output.dense.weight.T
    found = attribute(model, batch, ["value_norms"])["value_norms"]
    torch.testing.assert_close(found, sent.norm(dim=-1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_faithfulness_and_heads_are_measured(kind, runs) -> None:
    measured = measure_run(runs(kind), ["readout", "rollout"], num_samples=4, steps=2)
    assert {row["method"] for row in measured.rows()} >= {"readout", "rollout"}
    importance = head_importance_of(runs(kind), num_samples=8)
    assert importance.layers.shape == (3, 4)
    assert (importance.layers > 0).all()


def test_special_tokens_stand_around_the_text(runs) -> None:
    run = load_run(runs("bert"), with_data=True)
    batch = batch_of(run)
    layout = run.model.token_layout(batch)
    for ids, boxes, length, text in zip(
        batch["inputs"], layout.boxes, batch["lengths"].tolist(), batch["text"], strict=True
    ):
        pieces = run.datamodule.preprocessor.convert_ids_to_tokens(ids[:length].tolist())
        assert pieces[0] == "[CLS]"
        assert pieces[-1] == "[SEP]"
        assert ids[length:].count_nonzero() == 0
        for piece, (start, end) in zip(pieces[1:-1], boxes[1 : length - 1].tolist(), strict=True):
            assert text[int(start) : int(end)].lower() == piece.removeprefix("##")
        alone = run.datamodule.preprocessor(text, truncation=True, max_length=64)["input_ids"]
        assert ids[:length].tolist() == alone


def test_images_are_what_the_models_own_processor_makes(runs, tiny_vit, pictures) -> None:
    run = load_run(runs("vit"), with_data=True)
    dataset = run.datamodule.datasets["test"]
    images = dataset.pixels([0, 1])
    processor = transformers.AutoImageProcessor.from_pretrained(tiny_vit)
    expected = processor(images=list(images), return_tensors="pt").pixel_values
    prepared = run.datamodule.prepare(dataset.__getitems__([0, 1]), training=False)
    torch.testing.assert_close(prepared["inputs"], expected)
    drawn = run.datamodule.display_inputs(prepared)["image"]
    np.testing.assert_array_equal(drawn, images.permute(0, 2, 3, 1).numpy())
    layout = run.model.token_layout(prepared)
    assert layout.boxes[0, 0].isnan().all()  # CLS
    assert layout.boxes[0, 6].tolist() == [4, 4, 8, 8]  # second row, second column


@pytest.mark.parametrize(("kind", "seconds"), [("wav2vec2", 1.0), ("ast", 1.0)])
def test_tokens_of_sound_lie_in_time_and_frequency(kind, seconds, runs) -> None:
    run = load_run(runs(kind), with_data=True)
    batch = batch_of(run)
    boxes = run.model.token_layout(batch).boxes[0]
    boxes = boxes[~boxes.isnan().any(-1)]
    start, low, end, high = boxes.unbind(-1)
    assert (start >= 0).all()
    assert (end <= seconds + 1e-4).all()
    assert (start < end).all()
    assert (low < high).all()
    if kind == "wav2vec2":
        assert torch.allclose(end - start, torch.tensor(512 / 16000))
        assert set(low.tolist()) == {0.0}
    else:
        assert len(boxes) == 2 * 9  # (32 - 16) // 10 + 1 bands, (100 - 16) // 10 + 1 steps
        assert torch.allclose(end - start, torch.tensor(0.1))


def test_a_token_is_placed_where_the_model_hears_it(runs) -> None:
    """A click moves the features of the token in whose box it is, more than any other."""
    run = load_run(runs("wav2vec2"), with_data=True)
    model = run.model.encoder.backbone.model
    boxes = run.model.encoder.inputs.boxes
    for place in (3, 10, 20):
        middle = int(16000 * (boxes[place, 0] + boxes[place, 2]) / 2)
        quiet = 0.01 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
        loud = quiet.clone()
        loud[0, middle - 40 : middle + 40] += 1.0
        with torch.no_grad():
            change = (model.feature_extractor(loud) - model.feature_extractor(quiet)).abs()
        assert int(change.sum(1).argmax()) == place


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [("none", {"embeddings", 0, 1, 2}), ("embeddings", {0, 1, 2}), ("all", set()), ("2", {2})],
)
def test_what_is_frozen_stays_and_the_rest_is_trained(
    freeze, trained, overrides, run_training, tiny_bert, tmp_path
) -> None:
    extra = [f"encoder.freeze={freeze}", "trainer.max_epochs=1", "callbacks.ema=null"]
    run_training([*overrides["bert"], *extra], tmp_path / "run")
    before = transformers.AutoModel.from_pretrained(tiny_bert).state_dict()
    after = load_run(tmp_path / "run", with_data=True).model.encoder.backbone.model.state_dict()
    changed = set()
    for name, values in before.items():
        part = "embeddings" if name.startswith("embeddings") else None
        if name.startswith("encoder.layer."):
            part = int(name.split(".")[2])
        if part is not None and not torch.equal(values, after[name]):
            changed.add(part)
    assert changed == trained


def test_lower_layers_learn_more_slowly(overrides, compose_train, tmp_path) -> None:
    from attention_atlas.pipeline.build import build_task
    from attention_atlas.pipeline.build_model import build_datamodule

    chosen = ["encoder.lr=1e-3", "encoder.layer_decay=0.5", "optimizer.lr=2e-3"]
    config = compose_train([*overrides["bert"], *chosen], tmp_path)
    task = build_task(config, build_datamodule(config))
    rates = task.rates
    prefix = "encoder.backbone.model."
    assert rates[f"{prefix}encoder.layer.2.output.dense.weight"] == 1e-3
    assert rates[f"{prefix}encoder.layer.0.output.dense.weight"] == 2.5e-4
    assert rates[f"{prefix}embeddings.word_embeddings.weight"] == 1.25e-4
    assert set(rates) == {
        name for name, _ in task.model.named_parameters() if name.startswith("encoder.")
    }


def test_lora_trains_small_matrices_alone(overrides, run_training, tiny_bert, tmp_path) -> None:
    pytest.importorskip("peft")
    lora = "encoder.lora={r: 2, lora_alpha: 4, target_modules: [query, value]}"
    chosen = [*overrides["bert"], lora, "trainer.max_epochs=1", "callbacks.ema=null"]
    run_training(chosen, tmp_path / "run")
    before = transformers.AutoModel.from_pretrained(tiny_bert).state_dict()
    run = load_run(tmp_path / "run", with_data=True)
    after = run.model.encoder.backbone.model.state_dict()
    for name, values in before.items():
        stem, _, last = name.rpartition(".")
        other = after.get(name, after.get(f"{stem}.base_layer.{last}"))
        assert torch.equal(values, other), name
    assert any("lora_B" in name and values.any() for name, values in after.items())
    assert len(open_atlas(tmp_path / "run")[0].maps) == 3


@pytest.mark.slow
def test_commands_look_at_the_run(runs, tmp_path) -> None:
    for kind in KINDS:
        for command in (["show"], ["stats"], ["info"]):
            done = invoke_atlas(tmp_path, *command, str(runs(kind)))
            assert done.exit_code == 0, done.output
    done = run_script(["evaluate.py", f"run={runs('bert')}"], tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((runs("bert") / "result.json").read_text())
    assert f"{100 * result['test/accuracy']:.2f} %" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["encoder.name=no/such/folder"], "The pretrained model no/such/folder does not exist"),
        (["encoder.name=null"], "encoder.name=null is not possible"),
        (["encoder.freeze=top"], "encoder.freeze=top is not possible"),
        (["encoder.layer_decay=0"], "encoder.layer_decay=0 is not possible"),
        (["encoder.num_heads=5"], "width of 32: take one of 1, 2, 4, 8, 16."),
        (["encoder.lora={r: -1, target_modules: all-linear}"], "encoder.lora="),
    ],
)
def test_what_cannot_be_used_ends_in_a_one_line_error(chosen, message, overrides, tmp_path) -> None:
    done = run_script(["train.py", *overrides["bert"], *chosen], tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_it_resumes_without_the_files_it_came_from(
    overrides, run_training, tiny_bert, tmp_path
) -> None:
    shutil.copytree(tiny_bert, tmp_path / "bert")
    chosen = [*overrides["bert"], f"encoder.name={tmp_path / 'bert'}", "resume=auto"]
    run_training([*chosen, "trainer.max_epochs=1"], tmp_path / "run")
    shutil.rmtree(tmp_path / "bert")
    run_training([*chosen, "trainer.max_epochs=2"], tmp_path / "run")
    with (tmp_path / "run" / "metrics.csv").open() as file:
        validated = [row["epoch"] for row in csv.DictReader(file) if row["val/loss"]]
    assert validated == ["0", "1"]


@pytest.mark.slow
def test_two_processes_train_it(overrides, tmp_path) -> None:
    """Each waits for every gradient of the other."""
    chosen = [*overrides["bert"], "trainer=ddp_cpu", "trainer.devices=2", "debug=fast"]
    done = run_script(["train.py", *chosen, "hydra.run.dir=run"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test/accuracy" in json.loads((tmp_path / "run" / "result.json").read_text())


def test_cls_is_refused_where_there_is_no_such_token(overrides, compose_train, tmp_path) -> None:
    from attention_atlas.pipeline.build import build_task
    from attention_atlas.pipeline.build_model import build_datamodule

    config = compose_train([*overrides["wav2vec2"], "encoder.readout=cls"], tmp_path)
    with pytest.raises(InputError, match="readout=cls needs a first token"):
        build_task(config, build_datamodule(config))


def test_models_whose_maps_are_not_over_whole_inputs_are_refused(tmp_path, pictures) -> None:
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[2], num_heads=[2], window_size=4
    )
    transformers.SwinModel(config).save_pretrained(tmp_path / "swin")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(
        tmp_path / "swin"
    )
    from attention_atlas.pretrained.backbone import Backbone
    from attention_atlas.pretrained.source import load_model

    model = load_model(str(tmp_path / "swin"), "image")
    with pytest.raises(InputError, match="attends within windows"):
        Backbone(model, {"pixel_values": torch.zeros(1, 3, 32, 32)})


def hidden(model: transformers.PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**inputs).last_hidden_state


def test_two_parts_make_the_whole(tiny_bert) -> None:
    from attention_atlas.pretrained.backbone import Backbone
    from attention_atlas.pretrained.source import load_model

    model = load_model(str(tiny_bert), "text")
    ids = torch.randint(5, 60, (2, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    backbone = Backbone(model, {"input_ids": ids[:1], "attention_mask": mask[:1]}).eval()
    with torch.no_grad():
        values = backbone.embed({"input_ids": ids, "attention_mask": mask})
        blank = {"input_ids": torch.zeros_like(ids), "attention_mask": mask}
        encoded = backbone.encode(values, blank)
    torch.testing.assert_close(
        encoded, hidden(model, {"input_ids": ids, "attention_mask": mask}), rtol=0, atol=1e-6
    )
