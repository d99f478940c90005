"""A pretrained encoder taken apart: what stands before its blocks, in them, and behind them."""

import pytest
import torch
import transformers

from attention_atlas.encoder.pretrained import PretrainedEncoder
from attention_atlas.encoder.pretrained_inputs import build_inputs, has_cls
from attention_atlas.errors import InputError
from attention_atlas.pretrained.source import encoder_of
from attention_atlas.tasks.optimization import decayed_names
from tests.pretrained.architectures import ARCHITECTURES, IMAGE

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}


def parts(name: str):
    """The backbone of an architecture, how it is fed, and a batch of one sample."""
    architecture = BY_NAME[name]
    given = architecture.make_inputs()
    if "input_ids" in given:
        modality, ids = "text", given["input_ids"][:1, :3]
        spans = torch.tensor([[[0, 0], [0, 1], [0, 0]]])  # special, a letter, special
        example = {"inputs": ids, "lengths": torch.tensor([3]), "spans": spans}
    else:
        modality = "image" if "pixel_values" in given else "audio"
        values = next(value for key, value in given.items() if key.startswith(("pixel", "input_")))
        example = {"inputs": values[:1]}
    model = encoder_of(architecture.build("sdpa"), modality)
    return *build_inputs(model, modality, example, seconds=0.2), example


@pytest.mark.parametrize(
    ("name", "in_front", "first_block", "behind"),
    [
        ("BERT", "embeddings.LayerNorm.weight", "encoder.layer.0.output.dense.weight", None),
        ("T5", "embed_tokens.weight", "block.0.layer.1.DenseReluDense.wi.weight",
         "final_layer_norm.weight"),
        ("BART", "layernorm_embedding.weight", "layers.0.fc2.weight", None),
        ("ViT", "embeddings.cls_token", "layers.0.mlp.fc1.weight", "layernorm.weight"),
        ("wav2vec2", "feature_projection.projection.weight",
         "encoder.layers.0.feed_forward.output_dense.weight", None),
        ("Llama", "embed_tokens.weight", "layers.0.mlp.up_proj.weight", "norm.weight"),
    ],
)  # fmt: skip
def test_rates_and_freezing_follow_the_order_in_which_modules_run(
    name, in_front, first_block, behind
) -> None:
    backbone, inputs, _ = parts(name)
    depth = len(backbone.blocks)
    encoder = PretrainedEncoder(backbone, inputs, freeze=1)
    rates = encoder.learning_rates(1.0, 0.5)
    trained = {key for key, value in encoder.named_parameters() if value.requires_grad}
    prefix = "backbone.model."
    assert rates[prefix + in_front] == 0.5**depth
    assert rates[prefix + first_block] == 0.5 ** (depth - 1)
    assert not {prefix + in_front, prefix + first_block} & trained
    assert prefix + first_block.replace(".0.", ".1.", 1) in trained
    if behind is not None:
        assert rates[prefix + behind] == 1.0
        assert prefix + behind in trained


def test_learning_rates_draw_no_random_numbers() -> None:
    backbone, inputs, _ = parts("BERT")
    encoder = PretrainedEncoder(backbone, inputs)
    assert encoder.training
    before = torch.get_rng_state()
    encoder.learning_rates(1.0, 0.5)
    torch.testing.assert_close(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "ViT", "BEiT", "DINOv2", "SigLIP", "wav2vec2"])
def test_all_that_is_trained_gets_a_gradient(name: str) -> None:
    """Ranks that train side by side wait for every gradient."""
    backbone, inputs, example = parts(name)
    encoder = PretrainedEncoder(backbone, inputs).train()
    encoder.backbone(inputs(example)).sum().backward()
    trained = {key: value for key, value in encoder.named_parameters() if value.requires_grad}
    assert [key for key, value in trained.items() if value.grad is None] == []
    assert len(trained) > 30


def test_all_that_lora_trains_gets_a_gradient() -> None:
    pytest.importorskip("peft")
    backbone, inputs, example = parts("BERT")
    assert "pooler.dense.weight" in backbone.unused
    lora = {"r": 2, "target_modules": "all-linear", "bias": "all"}
    encoder = PretrainedEncoder(backbone, inputs, lora=lora).train()
    encoder.backbone(inputs(example)).sum().backward()
    trained = {key: value for key, value in encoder.named_parameters() if value.requires_grad}
    assert [key for key, value in trained.items() if value.grad is None] == []
    assert sum("lora_A" in key for key in trained) == 3 * 6
    assert any(key.endswith("base_layer.bias") for key in trained)


def test_tokens_behind_the_patches_have_no_known_position() -> None:
    options = {**IMAGE, "image_size": [16, 16], "num_detection_tokens": 5}
    model = transformers.YolosModel(transformers.YolosConfig(**options)).eval()
    with pytest.raises(InputError, match="YolosModel has other tokens behind its patches"):
        build_inputs(model, "image", {"inputs": torch.randn(1, 3, 16, 16)})


def test_positions_and_learned_tokens_do_not_decay() -> None:
    backbone, _, _ = parts("ViT")
    decayed = decayed_names(backbone.model)
    assert not {"embeddings.cls_token", "embeddings.position_embeddings"} & decayed
    assert "layers.0.mlp.fc1.weight" in decayed


def test_there_are_no_more_layers_to_freeze_than_there_are() -> None:
    backbone, inputs, _ = parts("BERT")
    PretrainedEncoder(backbone, inputs, freeze=3)
    with pytest.raises(InputError, match=r"has 3 layers\. Take 0 to 3"):
        PretrainedEncoder(backbone, inputs, freeze=4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT", ["[CLS]"]), ("CLIP", ["[CLS]"]), ("DeiT", ["[CLS]", "[DIST]"]),
        ("AST", ["[CLS]", "[DIST]"]), ("SigLIP", []), ("wav2vec2", []),
    ],
)  # fmt: skip
def test_tokens_before_the_patches_have_names(name: str, expected: list[str]) -> None:
    architecture = BY_NAME[name]
    if name == "CLIP":
        model = architecture.build("sdpa").vision_model
        example = {"inputs": architecture.make_inputs()["pixel_values"][:1]}
        inputs = build_inputs(model, "image", example)[1]
    else:
        inputs = parts(name)[1]
    assert list(inputs.leading_tokens) == expected


def test_registers_have_names() -> None:
    config = transformers.Dinov2WithRegistersConfig(**IMAGE, num_register_tokens=2)
    model = transformers.Dinov2WithRegistersModel(config).eval()
    _, inputs = build_inputs(model, "image", {"inputs": torch.randn(1, 3, 16, 16)})
    assert list(inputs.leading_tokens) == ["[CLS]", "[REG0]", "[REG1]"]


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")  # PEFT sets what GPT-2 needs
@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_the_output_projection_has_what_lora_adds(name: str) -> None:
    pytest.importorskip("peft")
    backbone, inputs, _ = parts(name)
    lora = {"r": 2, "target_modules": "all-linear"}
    encoder = PretrainedEncoder(backbone, inputs, lora=lora).eval()
    for key, value in encoder.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(value)
    layer = backbone.layers[0]
    projection = backbone.model.get_submodule(backbone._projections[layer])
    merged = torch.eye(32)
    own = projection(merged) - projection(torch.zeros(1, 32))
    torch.testing.assert_close(backbone.output_projection(layer).T, own, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BERT", True), ("ViT", True), ("DeiT", True), ("AST", True),
        ("SigLIP", False), ("wav2vec2", False),  # they have none
        ("GPT-2", False), ("Llama", False), ("CLIP", False),  # it sees no other
    ],
)  # fmt: skip
def test_a_cls_token_stands_for_nothing_and_sees_the_others(name: str, expected: bool) -> None:
    backbone, inputs, example = parts(name)
    assert has_cls(backbone, inputs, example) == expected
