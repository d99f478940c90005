"""Attention flow against networkx, and its limit."""

import networkx
import numpy as np
import pytest
import torch

from attention_atlas.analysis.attributions import attribute
from attention_atlas.analysis.attributions import rollout as rollout_module
from attention_atlas.analysis.attributions.rollout import maximum_flows
from attention_atlas.errors import InputError
from tests.analysis.attributions.eager import build, eager, sound, text


def by_networkx(layers: list[np.ndarray], source: np.ndarray, token: int) -> float:
    """Floating-point capacities, edge by edge; nodes are (level, token)."""
    graph = networkx.DiGraph()
    for level, layer in enumerate(layers):
        for (i, j), capacity in np.ndenumerate(layer):
            graph.add_edge((level + 1, i), (level, j), capacity=float(capacity))
    for i, capacity in enumerate(source):
        graph.add_edge("source", (len(layers), i), capacity=float(capacity))
    return float(networkx.maximum_flow_value(graph, "source", (0, token)))


@pytest.mark.parametrize(("num_layers", "size", "sharpness"), [(1, 9, 1.0), (3, 7, 0.1), (4, 8, 1)])
def test_equal_to_networkx(num_layers: int, size: int, sharpness: float) -> None:
    draw = np.random.default_rng(0)
    maps = draw.dirichlet(np.full(size, sharpness), size=(num_layers, size))
    layers = [(map_ + np.eye(size)) / 2 for map_ in maps]
    source = draw.dirichlet(np.full(size, sharpness))
    wanted = [by_networkx(layers, source, token) for token in range(size)]
    np.testing.assert_allclose(maximum_flows(layers, source), wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
@pytest.mark.parametrize("grid", [False, True])
def test_flow_of_a_model(readout: str, grid: bool) -> None:
    model, batch = build(readout, grid=grid), sound() if grid else text()
    found = attribute(model, batch, ["flow"])["flow"]
    seen = eager(model, batch)
    for sample, shown in enumerate(seen.valid):
        places = shown.nonzero().flatten()
        size = len(places)
        layers = [
            (map_[sample].mean(0)[places][:, places].numpy() + np.eye(size)) / 2
            for map_ in seen.maps
        ]
        source = np.full(size, 1 / size)
        if readout == "cls":
            source = np.eye(size)[0]
        if seen.readout is not None:
            source = seen.readout[sample, :, 0, places].mean(0).numpy()
        wanted = [by_networkx(layers, source, token) for token in range(size)]
        np.testing.assert_allclose(found[sample, places], wanted, rtol=0, atol=1e-7)
        assert not found[sample, ~shown].any()


def test_long_inputs_are_refused_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    monkeypatch.setattr(rollout_module, "MAX_SIZE", 2 * 6**3)
    with pytest.raises(InputError, match="7 tokens through 2 layers: give inputs of at most 6"):
        attribute(model, text(), ["flow"])
    short = {name: values[:1] for name, values in text().items()}
    assert attribute(model, short, ["flow"])["flow"].any()  # padding does not count


def test_the_flow_of_float32_is_as_exact() -> None:
    found = {}
    for dtype in (torch.float32, torch.float64):
        weights = attribute(build().to(dtype), text(), ["flow"])["flow"]
        assert weights.dtype == dtype
        found[dtype] = weights.double()
    torch.testing.assert_close(*found.values(), rtol=0, atol=1e-5)
