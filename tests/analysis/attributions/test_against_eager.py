"""Every method equals its formula on maps and gradients of an explicit softmax, row by row."""

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_atlas.analysis.attributions import METHODS, attribute, why_not
from attention_atlas.attention import Attention
from attention_atlas.encoder import Classifier, ClsReadout
from tests.analysis.attributions.eager import Eager, build, eager, removed, sound, text
from tests.attention.test_variants import VARIANTS

OF_MAPS = [
    "readout",
    "raw",
    "raw:0",
    "raw:1.2",
    "rollout",
    "gradient_rollout",
    "attention_gradient",
    "value_norms",
]
PLAIN = [name for name, options in VARIANTS.items() if options.keys() <= {"score", "null_key"}]
# On a grid padding stands in the midst of tokens; windows and rotary positions go by it.
CASES = [
    (variant, readout, grid)
    for variant in VARIANTS
    for readout in ("attention", "cls", "mean")
    for grid in (False, True)
    if not (grid and variant in PLAIN)
    if not (readout == "cls" and "window" in VARIANTS[variant])
]


@pytest.mark.parametrize(("variant", "readout", "grid"), CASES)
def test_equal_to_the_formula_written_out(variant: str, readout: str, grid: bool) -> None:
    model = build(readout, grid=grid, **VARIANTS[variant])
    batch = sound() if grid else text()
    methods = [name for name in OF_MAPS if why_not(name, model) is None]
    assert {"raw", "attention_gradient"} <= set(methods)
    found = attribute(model, batch, methods)
    seen = eager(model, batch)
    torch.testing.assert_close(model(batch), seen.logits)
    for name in methods:
        for sample, shown in enumerate(seen.valid):
            wanted = written(name, model, seen, sample)
            torch.testing.assert_close(found[name][sample, shown], wanted[shown], msg=name)
            assert not found[name][sample, ~shown].any()


def written(name: str, model: Classifier, seen: Eager, b: int) -> Tensor:
    """An attribution [K] of one sample, from whole matrices."""
    maps = [map_[b] for map_ in seen.maps]  # [H, K, K]
    gradients = [gradient[b] for gradient in seen.gradients]
    places = seen.valid[b].nonzero().flatten().tolist()
    size = len(seen.valid[b])
    rows = [0] if isinstance(model.readout, ClsReadout) else places  # of the encoded tokens
    if name.startswith("raw"):
        layer, _, head = name.removeprefix("raw").removeprefix(":").partition(".")
        chosen = maps[int(layer or -1)]
        chosen = chosen[int(head)] if head else chosen.mean(0)
        return chosen[rows].mean(0)
    if name == "rollout":
        product = torch.eye(size, dtype=torch.float64)
        for map_ in maps:
            mixed = (map_.mean(0) + torch.eye(size)) / 2
            product = torch.stack([row / row.sum() for row in mixed]) @ product
        if seen.readout is not None:
            return seen.readout[b, :, 0].mean(0) @ product
        return product[rows].mean(0)
    if name == "gradient_rollout":
        relevance = torch.eye(size, dtype=torch.float64)
        for map_, gradient in zip(maps, gradients, strict=True):
            relevance = relevance + torch.relu(map_ * gradient).mean(0) @ relevance
        if seen.readout is not None:
            own = torch.relu(seen.readout[b] * seen.readout_gradient[b]).mean(0)
            return (own @ relevance)[0]
        return (relevance - torch.eye(size))[rows].mean(0)
    if seen.readout is None:
        map_, gradient, weights = maps[-1], gradients[-1], rows
    else:
        map_, gradient, weights = seen.readout[b], seen.readout_gradient[b], [0]
    if name == "readout":
        return map_[:, weights].mean(0).mean(0)
    if name == "attention_gradient":
        return (map_ * gradient)[:, weights].mean(0).mean(0)
    return sum(sent_norms(model, seen, b, map_[:, i], i) for i in weights) / len(weights)


def sent_norms(model: Classifier, seen: Eager, b: int, row: Tensor, i: int) -> Tensor:
    """||sum_h A_ij^h g_i^h f^h(x_j)|| for each j, one vector after another."""
    module = [part for part in model.modules() if isinstance(part, Attention)][-1]
    if seen.readout is None:
        module = model.encoder.layers[-1].attention
    queries, tokens = (attended[b] for attended in seen.attended[-1])
    width, groups = module.head_width, module.num_heads // module.num_kv_heads
    gate = torch.ones(module.num_heads * width, dtype=torch.float64)
    if module.gate is not None:
        gate = torch.sigmoid(module.gate_proj(queries[i]))
        gate = gate.repeat_interleave(len(module.out_proj.weight) // len(gate))
    first = module.embed_dim + module.num_kv_heads * width
    norms = []
    for j in range(len(tokens)):
        sent = torch.zeros(module.embed_dim, dtype=torch.float64)
        for head in range(module.num_heads):
            part = slice(first + head // groups * width, first + (head // groups + 1) * width)
            value = module.in_proj_weight[part] @ tokens[j] + module.in_proj_bias[part]
            out = slice(head * width, (head + 1) * width)
            sent = sent + row[head, j] * module.out_proj.weight[:, out] @ (gate[out] * value)
        norms.append(sent.square().sum().sqrt())
    return torch.stack(norms).detach()


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
def test_every_mechanism_goes_through_or_is_refused(variant: str, readout: str) -> None:
    options: dict[str, Any] = VARIANTS[variant]
    if readout == "cls" and "window" in options:
        with pytest.raises(ValueError, match="a position for every token"):
            build(readout, **options)(text())
        return
    model = build(readout, **options)
    for name in METHODS:
        reason = why_not(name, model)
        if reason is None:
            weights = attribute(model, text(), [name], reference=removed(text()))[name]
            assert weights.shape == model.token_layout(text()).valid.shape
            assert weights.isfinite().all()
            assert weights.any()
        else:
            with pytest.raises(ValueError) as caught:
                attribute(model, text(), [name])
            assert str(caught.value) == reason


def test_layers_are_in_order() -> None:
    """Gradients arrive last layer first: a mix-up shows where layers differ as much as here."""
    model = build("cls", depth=3)
    with torch.no_grad():
        model.encoder.layers[0].attention.out_proj.weight *= 20
    batch = text()
    found = attribute(model, batch, ["gradient_rollout"])["gradient_rollout"]
    seen = eager(model, batch)
    right = torch.stack([written("gradient_rollout", model, seen, b) for b in range(3)])
    torch.testing.assert_close(found, right * seen.valid)
    seen.gradients.reverse()
    wrong = torch.stack([written("gradient_rollout", model, seen, b) for b in range(3)])
    assert (found - wrong).abs().max() > 0.1 * found.abs().max()
