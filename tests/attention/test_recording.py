"""Recording: exact, only what was asked for, and never felt by the model."""

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_atlas.attention import SCORES, Attention, attention_map, record

WIDTH, HEADS = 16, 4


class Layer(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = Attention(WIDTH, HEADS, **options)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return x + self.attention(self.norm(x), key_padding_mask=padding)


class Model(nn.Module):
    """Two self-attention layers and a readout by a learned query."""

    def __init__(self, score: str = "scaled_dot", dropout: float = 0.0) -> None:
        super().__init__()
        options = {"score": score, "dropout": dropout, "num_kv_heads": 2}
        self.layers = nn.ModuleList([Layer(**options), Layer(**options)])
        self.query = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.readout = Attention(WIDTH, HEADS, score=score)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, padding)
        query = self.query.expand(len(x), -1, -1)
        return self.readout(query, x, key_padding_mask=padding)[:, 0]


NAMES = ["layers.0.attention", "layers.1.attention", "readout"]


def batch(length: int = 19, samples: int = 3) -> tuple[Tensor, Tensor]:
    padding = torch.zeros(samples, length, dtype=torch.bool)
    padding[0, length // 2 :] = True
    return torch.randn(samples, length, WIDTH), padding


def run(model: nn.Module, x: Tensor, padding: Tensor | None, **choice: Any) -> list[Tensor]:
    """Outputs and gradients from the same random state, recorded if there is a choice."""
    torch.manual_seed(3)
    model.zero_grad()
    leaf = x.clone().requires_grad_()
    if choice:
        choice.pop("recorded")
        with record(model, **choice):
            output = model(leaf, padding)
            output.sum().backward()
    else:
        output = model(leaf, padding)
        output.sum().backward()
    return [output, leaf.grad, *(parameter.grad for parameter in model.parameters())]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"queries": "first", "statistics": ["entropy"]},
        {"layers": [0], "heads": [1], "samples": [2, 0]},
        {"gradients": True, "statistics": ["rollout", "received"]},
    ],
)
def test_outputs_and_gradients_do_not_change_by_one_bit(
    score: str, training: bool, choice: dict[str, Any]
) -> None:
    # Gradients by maps cannot be had while weights are dropped.
    dropout = 0.0 if "gradients" in choice else 0.2
    model = Model(score, dropout=dropout).train(training)
    x, padding = batch()
    plain, recorded = run(model, x, padding), run(model, x, padding, recorded=True, **choice)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))


@pytest.mark.parametrize("score", SCORES)
def test_maps_are_exact_whatever_is_asked_for(score: str) -> None:
    model = Model(score).double().eval()
    x, padding = batch()
    x = x.double()
    with record(model) as full:
        model(x, padding)
    assert list(full.maps) == NAMES
    assert full.maps["readout"].shape == (3, HEADS, 1, 19)
    first = model.layers[0]
    queries, keys, _ = first.attention._project(first.norm(x), None, None)
    expected = attention_map(first.attention.score, queries, keys, key_padding_mask=padding)
    torch.testing.assert_close(full.maps[NAMES[0]], expected, rtol=1e-12, atol=1e-14)

    with record(
        model, layers=NAMES[:2], heads=[3, 0], queries=[-1, 2, 17], samples=[0, -1]
    ) as part:
        model(x, padding)
    for name in NAMES[:2]:
        chosen = full.maps[name][[0, 2]][:, [3, 0]][:, :, [18, 2, 17]]
        torch.testing.assert_close(part.maps[name], chosen, rtol=1e-12, atol=1e-14)
    with record(model, samples=[]) as nothing:
        model(x, padding)
    assert nothing.maps["readout"].shape == (0, HEADS, 1, 19)


def test_all_masks_are_cut_to_what_is_asked_for(masks: Callable[..., dict[str, Any]]) -> None:
    attention = Attention(WIDTH, HEADS).double()
    x = torch.randn(2, 6, WIDTH, dtype=torch.float64)
    given = masks(2, HEADS, 6, 6)
    with (
        record(attention) as full,
        record(attention, heads=[2], queries=[4, 1], samples=[1]) as part,
    ):
        attention(x, **given)
    chosen = full.maps["attention"][[1]][:, [2]][:, :, [4, 1]]
    torch.testing.assert_close(part.maps["attention"], chosen, rtol=1e-12, atol=1e-14)


def test_what_is_recorded_stays_as_it_was() -> None:
    """The model and its masks may go on changing."""
    model = Model("additive").eval()
    x, padding = batch()
    with record(model, statistics=["entropy"]) as late, record(model) as early:
        model(x, padding)
    early_maps = {name: map_.clone() for name, map_ in early.maps.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    padding.fill_(True)
    x.fill_(0.0)
    assert all(torch.equal(late.maps[name], early_maps[name]) for name in NAMES)
    for name in NAMES:
        entropy = torch.special.entr(early_maps[name]).sum(-1)
        torch.testing.assert_close(late.statistics["entropy"][name], entropy)


def test_entropy() -> None:
    attention = Attention(WIDTH, HEADS)
    nn.init.zeros_(attention.in_proj_weight)
    x, padding = batch(20)
    with record(attention, statistics=["entropy"], heads=[1]) as recording:
        attention(x, key_padding_mask=padding)
    entropy = recording.statistics["entropy"]["attention"]
    assert entropy.shape == (3, 1, 20)
    expected = (~padding).sum(-1).float().log()[:, None, None].expand(3, 1, 20)
    torch.testing.assert_close(entropy, expected)


def test_records_nest_and_choose_independently() -> None:
    """As a capture does: readout rows of all, entropy of all, whole maps of some."""
    model = Model().eval()
    x, padding = batch()
    with (
        record(model, layers="readout", queries="first") as rows,
        record(model, statistics=["entropy"]) as entropies,
    ):
        with record(model, samples=[1], layers="layers.*") as maps:
            model(x, padding)
        model(x, padding)
    assert list(rows.maps) == ["readout"]
    assert rows.maps["readout"].shape == (3, HEADS, 1, 19)
    assert list(entropies.statistics["entropy"]) == NAMES
    assert maps.maps[NAMES[1]].shape == (1, HEADS, 19, 19)
    assert [len(calls) for calls in maps.calls.values()] == [1, 1]
    assert [len(calls) for calls in entropies.calls.values()] == [2, 2, 2]


def test_several_passes_are_all_kept_and_maps_are_of_the_last() -> None:
    model = Model().eval()
    first, second = batch(5), batch(8)
    with record(model) as recording:
        model(*first)
        model(*second)
    shapes = [call.map.shape[-1] for call in recording.calls["readout"]]
    assert shapes == [5, 8]
    assert recording.maps["readout"] is recording.calls["readout"][1].map


def test_nothing_is_left_behind_when_an_exception_passes() -> None:
    model = Model()
    x, padding = batch()
    with pytest.raises(ValueError, match="key_padding_mask"), record(model) as recording:  # noqa: PT012
        model(x, padding)
        model(x, padding[:, 1:])
    assert recording.maps["readout"].shape == (3, HEADS, 1, 19)
    assert not any(hasattr(module, "observers") for module in model.modules())
    model(x, padding)
    assert len(recording.calls["readout"]) == 1

    forgotten = weakref.ref(recording)
    del recording
    gc.collect()
    assert forgotten() is None


def test_a_state_dict_taken_while_recording_carries_nothing() -> None:
    model = Model()
    keys = list(model.state_dict())
    with record(model):
        model(*batch())
        assert list(model.state_dict()) == keys


def test_maps_carry_no_gradient_and_outputs_do() -> None:
    model = Model()
    x, padding = batch()
    with record(model, statistics=["entropy"]) as recording:
        model(x, padding).sum().backward()
    assert not recording.maps["readout"].requires_grad
    assert not recording.statistics["entropy"]["readout"].requires_grad
    assert model.query.grad is not None


def test_recording_in_inference_mode() -> None:
    model = Model("cosine").eval()
    x, padding = batch()
    with torch.inference_mode(), record(model) as inferred:
        model(x, padding)
    with record(model) as ordinary:
        model(x, padding)
    assert torch.equal(inferred.maps["readout"], ordinary.maps["readout"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_recording_in_other_dtypes_changes_nothing(dtype: torch.dtype) -> None:
    model = Model("multiplicative").to(dtype)
    x, padding = batch()
    plain = run(model, x.to(dtype), padding)
    recorded = run(model, x.to(dtype), padding, recorded=True)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))


def test_layers_by_name_index_and_pattern() -> None:
    model = Model()
    for layers, names in [
        (None, NAMES),
        ("readout", NAMES[2:]),
        (0, NAMES[:1]),
        ([-1, 0], [NAMES[0], NAMES[2]]),
        ("layers.*", NAMES[:2]),
        (["layers.1.*", "readout"], NAMES[1:]),
        ([], []),
    ]:
        with record(model, layers=layers) as recording:
            assert recording.names == names
            model(*batch())
        assert [name for name, calls in recording.calls.items() if calls] == names


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_does_not_exist_is_reported() -> None:
    model = Model()
    x, padding = batch()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"layers": "layers.0.atention"}, "did you mean 'layers.0.attention'"),
        ({"layers": "encoder.*"}, "No attention module is named 'encoder"),
        ({"layers": [3]}, "no attention module with index 3: there are 3"),
        ({"heads": [4]}, "no head of 'layers.0.attention' with index 4: there are 4"),
        ({"statistics": ["entropie"]}, "no statistic 'entropie'; there are entropy, received"),
        ({"statistics": "entropy"}, "must be a list of names"),
        ({"queries": "last"}, "queries is 'last'"),
    ]
    for arguments, sentence in cases:
        with pytest.raises(ValueError, match=sentence), record(model, **arguments):
            pass
    linear = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="nothing attends in Linear"), record(linear):
        linear(torch.zeros(2))
    with pytest.raises(ValueError, match="Model did not run inside"), record(model):
        pass
    with (
        pytest.raises(ValueError, match=r"no query of .layers\.0\.attention. with index 19"),
        record(model, queries=[19]),
    ):
        model(x, padding)
    with (
        pytest.raises(ValueError, match="no sample in the batch of 'readout' with index 3"),
        record(model, layers="readout", samples=[3]),
    ):
        model(x, padding)
    with record(model, layers="readout") as recording:
        assert list(recording.maps) == []
        with pytest.raises(KeyError, match="did not run"):
            recording.maps["readout"]
        model(x, padding)
    with pytest.raises(KeyError, match="did you mean 'readout'"):
        recording.maps["readin"]


def test_a_recording_is_freed_at_once() -> None:
    model = Model().eval()
    x, padding = batch()
    gc.disable()
    try:
        with record(model, statistics=["entropy", "received"]) as recording:
            model(x, padding)
        assert recording.statistics["entropy"]["readout"].shape == (3, HEADS, 1)
        forgotten = weakref.ref(recording.calls["readout"][0])
        del recording
        assert forgotten() is None
    finally:
        gc.enable()


def test_a_copy_of_a_model_is_not_recorded() -> None:
    model = Model()
    x, padding = batch()
    with record(model, statistics=["entropy"]) as recording:
        twin = copy.deepcopy(model)
        restored = pickle.loads(pickle.dumps(model))
        twin(x, padding)
        restored(x, padding)
        assert all(not calls for calls in recording.calls.values())
        model(x, padding)
        twin(x, padding)
    assert [len(calls) for calls in recording.calls.values()] == [1, 1, 1]


def test_empty_choices_give_empty_maps() -> None:
    model = Model()
    x, padding = batch()
    for choice, shape in [
        ({"heads": []}, (3, 0, 19, 19)),
        ({"queries": []}, (3, HEADS, 0, 19)),
        ({"samples": []}, (0, HEADS, 19, 19)),
    ]:
        with record(model, layers=[0], **choice) as recording:
            model(x, padding)
        assert recording.maps[NAMES[0]].shape == shape


def test_one_index_is_a_list_of_one_and_calls_take_names() -> None:
    model = Model()
    x, padding = batch()
    with record(model, layers=0, heads=1, samples=0, queries=2) as recording:
        model(x, padding)
    call = recording.calls[NAMES[0]][0]
    assert call.map.shape == (1, 1, 1, 19)
    (entropy,) = call.statistics(["entropy"])
    assert entropy.shape == (1, 1, 1)
    with pytest.raises(KeyError, match="ask by record"):
        recording.statistics["entropy"]
