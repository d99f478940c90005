"""Gradients by maps: exact, of the scalar chosen, and without an eager path."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attention_atlas.attention import SCORES, Attention, record
from tests.attention.explicit import explicit
from tests.attention.test_variants import VARIANTS, make

WIDTH, HEADS, CLASSES = 32, 4, 3


class Classifier(nn.Module):
    """Two layers with residuals and a readout; `explicitly` runs the same by written-out maps."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make(**options) for _ in range(2))
        self.query = nn.Parameter(torch.randn(1, 1, WIDTH, dtype=torch.float64))
        self.readout = make()
        self.head = nn.Linear(WIDTH, CLASSES).double()

    def forward(self, x: Tensor, checkpointing: str | None = None) -> Tensor:
        for layer in self.layers:
            if checkpointing is None:
                x = x + layer(x)
            else:
                x = x + checkpoint(layer, x, use_reentrant=checkpointing == "reentrant")
        return self.head(self.readout(self.query.expand(len(x), -1, -1), x)[:, 0])

    def explicitly(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = []
        for layer in self.layers:
            made = explicit(layer, x)
            x, maps = x + made.output, [*maps, made.map]
        made = explicit(self.readout, self.query.expand(len(x), -1, -1), x)
        return self.head(made.output[:, 0]), [*maps, made.map]


NAMES = ["layers.0", "layers.1", "readout"]


def scalar(logits: Tensor, of: str) -> Tensor:
    labels = torch.tensor([1, 0, 2])
    if of == "loss":
        return nn.functional.cross_entropy(logits, labels)
    chosen = labels if of == "label" else logits.argmax(-1)
    return logits.gather(-1, chosen[:, None]).sum()


@pytest.mark.parametrize("of", ["predicted class", "label", "loss"])
@pytest.mark.parametrize("name", [*SCORES, "all_together", "linear", "differential_dot"])
def test_equal_to_autograd_through_an_explicit_softmax(name: str, of: str) -> None:
    model = Classifier(**VARIANTS[name])
    x = torch.randn(3, 7, WIDTH, dtype=torch.float64)
    with record(model, gradients=True) as recording:
        scalar(model(x), of).backward()
    logits, maps = model.explicitly(x)
    wanted = torch.autograd.grad(scalar(logits, of), maps)
    for layer, gradient in zip(NAMES, wanted, strict=True):
        actual = recording.gradients[layer]
        if "window" in VARIANTS[name] and layer != "readout":
            gradient = gradient.masked_fill(recording.maps[layer] == 0, 0)
        torch.testing.assert_close(actual, gradient, rtol=1e-9, atol=1e-10)


def test_slices_are_those_of_the_whole() -> None:
    model = Classifier(num_kv_heads=2)
    x = torch.randn(3, 7, WIDTH, dtype=torch.float64)
    with (
        record(model, gradients=True) as full,
        record(
            model, "layers.*", heads=[3, 0], queries=[5], samples=[2, 0], gradients=True
        ) as part,
        record(model, queries="readout", gradients=True) as row,
    ):
        model(x).amax(-1).sum().backward()
    for name in NAMES[:2]:
        chosen = full.gradients[name][[2, 0]][:, [3, 0]][:, :, [5]]
        torch.testing.assert_close(part.gradients[name], chosen, rtol=1e-12, atol=1e-14)
    assert row.names == ["readout"]
    torch.testing.assert_close(row.gradients["readout"], full.gradients["readout"])


def test_the_last_backward_pass_counts_also_after_the_block() -> None:
    model = Classifier()
    x = torch.randn(3, 7, WIDTH, dtype=torch.float64)
    with record(model, gradients=True) as recording:
        logits = model(x)
    logits[:, 0].sum().backward(retain_graph=True)
    first = recording.gradients["layers.0"]
    parameters = list(model.parameters())
    torch.autograd.grad(3 * logits[:, 0].sum(), parameters, retain_graph=True)
    torch.testing.assert_close(recording.gradients["layers.0"], 3 * first)


@pytest.mark.parametrize("checkpointing", ["reentrant", "not reentrant"])
def test_activation_checkpointing_changes_nothing(checkpointing: str) -> None:
    model = Classifier()
    x = torch.randn(3, 7, WIDTH, dtype=torch.float64, requires_grad=True)
    with record(model, gradients=True) as plain:
        model(x).amax(-1).sum().backward()
    wanted = [x.grad, *(parameter.grad for parameter in model.parameters())]
    x.grad = None
    model.zero_grad()
    with record(model, gradients=True, statistics=["entropy"]) as recording:
        model(x, checkpointing).amax(-1).sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in model.parameters())]
    assert all(torch.equal(one, other) for one, other in zip(gradients, wanted, strict=True))
    for name in NAMES:
        assert len(recording.calls[name]) == 1
        assert torch.equal(recording.maps[name], plain.maps[name])
        assert torch.equal(recording.gradients[name], plain.gradients[name])


class Twice(nn.Module):
    """A layer that runs twice inside one checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = make()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x + self.layer(x))


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_with_several_passes_that_wait(use_reentrant: bool) -> None:
    """Two batches before the first backward, a layer that runs twice, and a pass in between."""
    model = Twice()
    batches = torch.randn(2, 3, 7, WIDTH, dtype=torch.float64, requires_grad=True)
    with record(model, gradients=True) as plain:
        for number in (0, 1):
            model(batches[number]).square().sum().backward()
    with record(model, gradients=True) as recording:
        with torch.no_grad():
            model(torch.randn(1, 4, WIDTH, dtype=torch.float64))
        outputs = [checkpoint(model, x, use_reentrant=use_reentrant) for x in batches.unbind()]
        outputs[0].square().sum().backward()
        outputs[1].square().sum().backward()
    calls = recording.calls["layer"][2:]
    for call, expected in zip(calls, plain.calls["layer"], strict=True):
        torch.testing.assert_close(call.gradient, expected.gradient)
    with pytest.raises(RuntimeError, match="No gradient has been recorded"):
        _ = recording.calls["layer"][0].gradient


def test_a_pass_that_cannot_be_told_from_another_has_no_gradient() -> None:
    model = make()
    x = torch.randn(3, 7, WIDTH, dtype=torch.float64, requires_grad=True)
    with record(model, gradients=True) as recording:
        outputs = [checkpoint(model, x, use_reentrant=True) for _ in range(2)]
        (outputs[0].sum() + outputs[1].square().sum()).backward()
    with pytest.raises(RuntimeError, match="may be that of another pass"):
        _ = recording.gradients["attention"]


def test_gradients_that_cannot_be_had_are_reported() -> None:
    x = torch.randn(2, 5, WIDTH)
    attention = Attention(WIDTH, HEADS, dropout=0.1)
    with (
        pytest.raises(ValueError, match="cannot be recorded while dropout of attention weights"),
        record(attention, gradients=True),
    ):
        attention(x)
    with record(attention.eval(), gradients=True) as recording:
        attention(x).sum()
    with pytest.raises(RuntimeError, match="No gradient has been recorded"):
        _ = recording.gradients["attention"]
    with record(attention, gradients=True) as recording, torch.no_grad():
        attention(x)
    with pytest.raises(RuntimeError, match="with gradients enabled"):
        _ = recording.gradients["attention"]
    with record(attention) as recording:
        attention(x).sum().backward()
    with pytest.raises(RuntimeError, match="gradients=True"):
        _ = recording.gradients["attention"]
    with pytest.raises(ValueError, match="Only differential attention"):
        _ = recording.calls["attention"][0].parts


def test_half_precision_has_gradients_in_float32() -> None:
    attention = make().to(torch.bfloat16)
    x = torch.randn(2, 9, WIDTH, dtype=torch.bfloat16)
    with record(attention, gradients=True) as recording:
        attention(x).sum().backward()
    gradient = recording.gradients["attention"]
    assert gradient.dtype == torch.float32
    wide = attention.double()
    expected = explicit(wide, x.double())
    wanted = torch.autograd.grad(expected.output.sum(), expected.map)[0]
    assert (gradient - wanted).abs().max() < 0.05 * wanted.abs().max()
