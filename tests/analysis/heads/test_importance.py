"""Head importance, against a factor before each head and against recorded maps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attention_atlas.analysis.heads.importance import head_importance
from attention_atlas.atlas import open_atlas
from attention_atlas.attention import record
from attention_atlas.encoder import Classifier, TextEmbedding, TransformerEncoder, make_readout
from attention_atlas.errors import InputError
from attention_atlas.pipeline.load_run import load_run

D, H, C = 16, 4, 3
VARIANTS: list[dict[str, Any]] = [
    {},
    {"score": "additive"},
    {"null_key": True},
    {"gate": "headwise"},
    {"differential": True},
    {"window": 2},
    {"linear": True},
]


def classifier(readout: str = "attention", depth: int = 2, **options: Any) -> Classifier:
    torch.manual_seed(0)
    encoder = TransformerEncoder(D, H, depth, mlp_ratio=2.0, attention=options)
    embedding = TextEmbedding(40, D, max_length=12)
    torch.nn.init.normal_(embedding.token.weight)
    model = Classifier(embedding, encoder, make_readout(readout, D, H, options), D, C)
    return model.double().eval()


def batch() -> dict[str, Tensor]:
    inputs = torch.tensor([[5, 6, 7, 8, 0, 0], [9, 10, 11, 12, 13, 14], [3, 4, 0, 0, 0, 0]])
    return {
        "inputs": inputs,
        "lengths": torch.tensor([4, 6, 2]),
        "label": torch.tensor([0, 2, 1]),
    }


@contextmanager
def factor(model: Classifier, layer: str, head: int, size: float) -> Iterator[None]:
    """Multiply the output of a head, where it enters the output projection."""
    factors = torch.ones(H, D // H, dtype=torch.float64)
    factors[head] = size
    projection = model.get_submodule(layer).out_proj
    handle = projection.register_forward_pre_hook(lambda _, args: (args[0] * factors.flatten(),))
    yield
    handle.remove()


def by_factor(model: Classifier, layer: str, head: int, step: float = 1e-5) -> float:
    """|dL/dxi| of each sample at xi = 1, by central differences; the mean over samples."""
    losses = []
    for size in (1 + step, 1 - step):
        with factor(model, layer, head, size), torch.no_grad():
            logits = model(batch())
        losses.append(torch.nn.functional.cross_entropy(logits, batch()["label"], reduction="none"))
    return float(((losses[0] - losses[1]) / (2 * step)).abs().mean())


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_importance_is_the_slope_of_a_factor_before_the_head(options: dict[str, Any]) -> None:
    model = classifier(**options)
    found = head_importance(model, [batch()])
    assert found.num_samples == 3
    for layer, name in enumerate(model.attention_layers):
        expected = [by_factor(model, name, head) for head in range(H)]
        np.testing.assert_allclose(found.layers[layer], expected, rtol=1e-5, atol=1e-9)
    expected = [by_factor(model, "readout.attention", head) for head in range(H)]
    np.testing.assert_allclose(found.readout, expected, rtol=1e-5, atol=1e-9)
    assert found.layers.min() > 0


@pytest.mark.parametrize("options", [{}, {"score": "additive"}, {"null_key": True}, {"window": 2}])
def test_importance_equals_maps_times_their_gradients(options: dict[str, Any]) -> None:
    """|sum_ij A_ij dL/dA_ij|, which Michel et al. write for the output A V of a head."""
    model = classifier(**options)
    found = head_importance(model, [batch()])
    with record(model, gradients=True) as recording:
        logits = model(batch())
        torch.nn.functional.cross_entropy(logits, batch()["label"], reduction="sum").backward()
    rows = [*found.layers, found.readout]
    for name, row in zip([*model.attention_layers, "readout.attention"], rows, strict=True):
        products = recording.maps[name] * recording.gradients[name]
        np.testing.assert_allclose(row, products.sum((2, 3)).abs().mean(0), rtol=1e-6)


def test_importance_does_not_depend_on_how_samples_are_batched() -> None:
    model = classifier()
    whole = head_importance(model, [batch()])
    parts = [{name: v[i : i + 1] for name, v in batch().items()} for i in range(3)]
    done: list[int] = []
    apart = head_importance(model, parts, progress=done.append)
    np.testing.assert_allclose(apart.layers, whole.layers, rtol=1e-9)
    np.testing.assert_allclose(apart.readout, whole.readout, rtol=1e-9)
    assert done == [1, 2, 3]


def test_layers_can_be_normalised() -> None:
    model = classifier()
    plain = head_importance(model, [batch()])
    scaled = head_importance(model, [batch()], normalise=True)
    norms = np.linalg.norm(plain.layers, axis=1, keepdims=True)
    np.testing.assert_allclose(scaled.layers, plain.layers / norms)
    np.testing.assert_allclose(np.linalg.norm(scaled.readout), 1)


def test_the_model_stays_as_it_was() -> None:
    model = classifier()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    frozen = head_importance(model, [batch()])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())
    free = head_importance(classifier(), [batch()])
    np.testing.assert_allclose(frozen.layers, free.layers)


@pytest.mark.parametrize(("readout", "depth"), [("mean", 1), ("cls", 1), ("mean", 0)])
def test_readouts_without_attention_of_their_own(readout: str, depth: int) -> None:
    found = head_importance(classifier(readout, depth), [batch()])
    assert found.layers.shape == ((1, H) if depth else (0, 0))
    assert found.readout.shape == (0,)


def test_training_mode_and_no_batches_are_refused() -> None:
    with pytest.raises(InputError, match="eval mode"):
        head_importance(classifier().train(), [batch()])
    with pytest.raises(InputError, match="no batch"):
        head_importance(classifier(), [])


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_importance_of_a_trained_run(task: str, trained_runs: dict[str, Path]) -> None:
    run = load_run(trained_runs[task], with_data=True)
    sample_ids = open_atlas(run.folder).sample_ids
    found = head_importance(run.model, run.batches(sample_ids, 8))
    assert found.num_samples == len(sample_ids)
    assert found.layers.shape == (1, 2)
    assert found.readout.shape == (2,)
    assert (found.layers > 0).all()
