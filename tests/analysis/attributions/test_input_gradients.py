"""Input x gradient and integrated gradients against other ways to the same numbers."""

from typing import Any

import pytest
import torch
from captum.attr import LayerGradientXActivation, LayerIntegratedGradients
from torch import Tensor

from attention_atlas.analysis.attributions import attribute
from attention_atlas.analysis.attributions.input_gradients import integrated_gradients
from attention_atlas.analysis.attributions.recorded_pass import record_pass
from attention_atlas.analysis.attributions.target import embed_batch
from attention_atlas.encoder import Classifier, Tokens
from tests.analysis.attributions.eager import build, one, removed, sound, text

Batch = dict[str, Any]


def of_inputs(model: Classifier) -> Any:
    return lambda inputs, lengths: model({"inputs": inputs, "lengths": lengths})


@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
@pytest.mark.parametrize("grid", [False, True])
def test_equal_to_captum_hooked_into_the_embedding(readout: str, grid: bool) -> None:
    """There the layer's output is hooked, here the model starts from tokens."""
    model, batch = build(readout, grid=grid), sound() if grid else text()
    target = torch.arange(len(batch["inputs"]))
    reference = removed(batch)
    found = attribute(
        model, batch, ["input_gradient", "integrated_gradients"], target, reference=reference
    )
    given = batch["inputs"], batch["lengths"]
    products = LayerGradientXActivation(of_inputs(model), model.embedding.dropout)
    integrals = LayerIntegratedGradients(of_inputs(model), model.embedding.dropout)
    wanted = {
        "input_gradient": products.attribute(given[0], target, given[1]),
        "integrated_gradients": integrals.attribute(
            given[0], reference["inputs"], target, given[1], n_steps=32
        ),
    }
    for name, values in wanted.items():
        valid = model.token_layout(batch).valid
        own = values.sum(-1)
        cls = found[name].shape[1] - own.shape[1]
        assert not found[name][:, :cls].any()
        torch.testing.assert_close(found[name][:, cls:], own * valid[:, cls:], msg=name)


def logit(model: Classifier, batch: Batch, values: Tensor, target: Tensor) -> Tensor:
    tokens = model.embedding(batch)
    logits = model.classify(Tokens(values, tokens.key_padding_mask, tokens.grid))
    return logits.gather(1, target[:, None])[:, 0].detach()


@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
@pytest.mark.parametrize("grid", [False, True])
def test_integrated_gradients_sum_to_what_the_tokens_changed(readout: str, grid: bool) -> None:
    model, batch = build(readout, grid=grid), sound() if grid else text()
    target = torch.ones(len(batch["inputs"]), dtype=torch.long)
    reference = removed(batch)
    change = logit(model, batch, model.embedding(batch).values, target)
    change = change - logit(model, batch, model.embedding(reference).values, target)
    assert change.abs().min() > 1e-2
    recorded = record_pass(
        model, embed_batch(model, batch, target, reference, 0), with_gradients=False
    )
    errors = [
        float((integrated_gradients(recorded, steps).sum(1) - change).abs().max())
        for steps in (32, 300)
    ]
    scale = float(change.abs().max())
    assert errors[0] < 0.1 * scale  # the model is far sharper than a trained one
    assert errors[1] < 1e-5 * scale
    by_default = attribute(model, batch, ["integrated_gradients"], target, reference=reference)
    assert torch.equal(by_default["integrated_gradients"], integrated_gradients(recorded, 32))


def test_without_a_reference_they_start_at_zeros() -> None:
    """By many midpoints of the path from zeros."""
    model, batch = build("mean"), one(text(), 0)
    tokens = model.embedding(batch)
    values, steps = tokens.values.detach(), 2000
    shares = (torch.arange(steps) + 0.5) / steps
    points = (shares[:, None, None] * values).requires_grad_()
    logits = model.classify(Tokens(points, tokens.key_padding_mask.expand(steps, -1), tokens.grid))
    gradient = torch.autograd.grad(logits[:, 2].sum(), points)[0].mean(0)
    wanted = (gradient * values).sum(-1) * model.token_layout(batch).valid
    name, target = "integrated_gradients", torch.tensor([2])
    found = attribute(model, batch, [name], target)[name]
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02 * float(wanted.abs().max()))


def test_input_gradients_are_slopes() -> None:
    """What the logit changes when a token grows by a little, in units of its length."""
    model, batch = build(), text()
    target = torch.zeros(3, dtype=torch.long)
    values = model.embedding(batch).values.detach()
    found = attribute(model, batch, ["input_gradient"], target)["input_gradient"]
    step = 1e-6
    for token in range(4):
        longer, shorter = values.clone(), values.clone()
        longer[:, token] *= 1 + step
        shorter[:, token] *= 1 - step
        change = logit(model, batch, longer, target) - logit(model, batch, shorter, target)
        torch.testing.assert_close(found[:, token], change / (2 * step), rtol=1e-6, atol=1e-7)
