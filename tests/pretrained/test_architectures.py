"""Hugging Face models, recorded through the fused kernel, against their own eager attention."""

import operator
from functools import cache

import pytest
import torch
from torch import Tensor

from attention_atlas.attention import Recording, record
from attention_atlas.pretrained import wire
from attention_atlas.pretrained.wiring import NAME
from tests.pretrained.architectures import ARCHITECTURES, OWN, TEXT, Architecture, text

every = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)


def scalar(output) -> Tensor:
    """A number of all samples, with another weight for each value."""
    hidden = getattr(output, "last_hidden_state", None)
    if hidden is None:  # two towers
        hidden = output.logits_per_image
    return (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum()


@cache
def eager(name: str) -> tuple[Tensor, dict[str, list[Tensor]], dict[str, list[Tensor]]]:
    """The output of the eager model, its attentions by field, and their gradients."""
    architecture = next(each for each in ARCHITECTURES if each.name == name)
    model, inputs = architecture.build("eager"), architecture.make_inputs()
    output = model(**inputs, output_attentions=True)
    fields = {field: list(operator.attrgetter(field)(output)) for field in architecture.maps}
    flat = [attention for attentions in fields.values() for attention in attentions]
    found = iter(torch.autograd.grad(scalar(output), flat))
    gradients = {field: [next(found) for _ in values] for field, values in fields.items()}
    return output[0].detach(), fields, gradients


def calls(recording: Recording) -> list:
    return [call for name in recording.names for call in recording.calls[name]]


def shown(attention: Tensor, call) -> Tensor:
    """[B, 1, Q, 1], True for queries that may attend to anything: eager gives others an average."""
    return call.map.sum(-1, keepdim=True).amax(1, keepdim=True) > 0


@every
def test_maps_and_gradients_are_those_of_the_eager_model(architecture: Architecture) -> None:
    _, attentions, gradients = eager(architecture.name)
    model = architecture.build("sdpa")
    for field, layers in architecture.maps.items():
        with record(model, layers=layers, gradients=True, statistics=["entropy"]) as recording:
            scalar(model(**architecture.make_inputs())).backward()
        recorded = calls(recording)
        assert len(recorded) == len(attentions[field]) > 0
        for place, call in enumerate(recorded):
            attention, gradient = attentions[field][place], gradients[field][place]
            valid = shown(attention, call)
            assert valid.float().mean() > 0.5
            assert ((call.map - attention).abs() * valid).max() < 1e-5
            scale = gradient.abs().max().clamp(min=1.0)
            assert ((call.gradient - gradient).abs() * valid).max() < 1e-5 * scale
        last = recorded[-1].map
        expected = -(last.clamp(min=1e-30).log() * last).sum(-1)
        entropy = recording.statistics["entropy"][recording.names[-1]]
        torch.testing.assert_close(entropy, expected, rtol=1e-4, atol=1e-5)


@every
def test_outputs_are_those_of_sdpa(architecture: Architecture) -> None:
    inputs = architecture.make_inputs()
    with torch.no_grad():
        expected = architecture.build("sdpa")(**inputs)[0]
        model = architecture.build(NAME)  # as from_pretrained takes it
        assert torch.equal(model(**inputs)[0], expected)
        with record(model) as recording:
            assert torch.equal(model(**inputs)[0], expected)
    assert calls(recording)


@every
def test_rows_heads_and_samples_can_be_chosen(architecture: Architecture) -> None:
    model, inputs = architecture.build(NAME), architecture.make_inputs()
    layers = list(architecture.maps.values())
    with torch.no_grad(), record(model, layers) as whole:
        model(**inputs)
    name = whole.names[-1]
    with torch.no_grad(), record(model, name, [1], [0, 2], [1]) as part:
        model(**inputs)
    assert part.names == [name]
    chosen = whole.maps[name][[1]][:, [1]][:, :, [0, 2]]
    torch.testing.assert_close(part.maps[name], chosen, rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", OWN, ids=lambda a: a.name)
def test_models_with_attention_of_their_own_give_their_weights(architecture: Architecture) -> None:
    model, inputs = architecture.build("eager"), architecture.make_inputs()
    with torch.no_grad():
        asked = model(**inputs, output_attentions=True)
        plain = model(**inputs)
        with record(model) as recording:
            recorded = model(**inputs)
    assert list(recorded) == list(plain)
    assert torch.equal(recorded[0], plain[0])
    for call, attention in zip(calls(recording), asked.attentions, strict=True):
        assert torch.equal(call.map, attention)
        assert call.source is not None
        assert call.source.startswith("what ")


def test_nested_records_of_such_a_model_both_get_the_weights() -> None:
    model, inputs = OWN[0].build("eager"), OWN[0].make_inputs()
    with torch.no_grad(), record(model) as outer, record(model, heads=0) as inner:
        output = model(**inputs)
    assert "attentions" not in output
    for name in outer.names:
        assert torch.equal(inner.maps[name], outer.maps[name][:, :1])


def test_wire_is_no_longer_needed() -> None:
    model = ARCHITECTURES[0].build("sdpa")
    with pytest.warns(FutureWarning, match="no longer needed"):
        assert wire(model) is model
    assert model.config._attn_implementation == "sdpa"


def test_padding_is_left_out() -> None:
    """A function without a mask function gets no mask, and padding is attended to silently."""
    model, inputs = ARCHITECTURES[0].build("sdpa"), text()
    with torch.no_grad(), record(model, statistics=["received"]) as recording:
        padded = model(**inputs)[0]
        alone = model(input_ids=inputs["input_ids"][2:, :3])[0]
    torch.testing.assert_close(padded[2:, :3], alone, rtol=0, atol=1e-5)
    call = recording.calls[recording.names[0]][0]
    assert call.map[2, :, :, 3:].count_nonzero() == 0
    (received,) = call.statistics(["received"])
    torch.testing.assert_close(received.sum(-1)[2], torch.full((4,), 3.0))  # of three valid rows


def test_capped_scores_are_those_of_eager() -> None:
    options = {**TEXT, "num_key_value_heads": 2, "head_dim": 8, "attn_logit_softcapping": 0.1}
    model = Architecture("", "Gemma2Model", options, text, {}).build("eager")
    with torch.no_grad(), record(model) as recording:
        expected = model(**text(), output_attentions=True).attentions
    for call, attention in zip(calls(recording), expected, strict=True):
        assert torch.equal(call.map, attention)
        assert call.source == "eager_attention_forward of Gemma2Attention"


def test_a_decoder_continues_from_its_cache() -> None:
    """A query that comes alone attends to all the keys before it."""
    llama = next(each for each in ARCHITECTURES if each.name == "Llama")
    model, ids = llama.build(NAME), torch.randint(5, 60, (2, 7))
    with torch.no_grad(), record(model) as recording:
        model(input_ids=ids)
        cache = model(input_ids=ids[:, :6], use_cache=True).past_key_values
        model(input_ids=ids[:, 6:], past_key_values=cache)
    whole, _, alone = recording.calls[recording.names[1]]
    torch.testing.assert_close(alone.map, whole.map[:, :, 6:], rtol=0, atol=1e-6)


def test_a_decoder_tells_its_own_tokens_from_those_of_the_encoder() -> None:
    """They are attended to by modules of one class, also where there are as many of both."""
    bart = next(each for each in ARCHITECTURES if each.name == "BART")
    model, inputs = bart.build(NAME), text()
    inputs["decoder_input_ids"] = inputs["input_ids"]
    with torch.no_grad(), record(model, statistics=["received"]) as recording:
        model(**inputs)
    received = {name: recording.statistics["received"][name].sum(-1)[2] for name in recording.names}
    torch.testing.assert_close(received["encoder.layers.1.self_attn"], torch.full((4,), 3.0))
    torch.testing.assert_close(received["decoder.layers.1.encoder_attn"], torch.full((4,), 9.0))


def test_a_pooling_head_of_torch_is_recorded() -> None:
    """That of SigLIP is an nn.MultiheadAttention."""
    siglip = next(each for each in ARCHITECTURES if each.name == "SigLIP")
    model, inputs = siglip.build("sdpa"), siglip.make_inputs()
    with torch.no_grad(), record(model) as recording:
        model(**inputs)
    assert recording.maps["head.attention"].shape == (2, 4, 1, 16)
    assert not recording.unseen
