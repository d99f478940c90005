"""What `attribute` promises: batches, masks, frozen models, and plain sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from attention_atlas.analysis.attributions import METHODS, attribute, find_method, why_not
from attention_atlas.analysis.attributions import attribute as attribute_function
from attention_atlas.attention import SCORES, Attention, record
from attention_atlas.encoder import Classifier
from attention_atlas.errors import InputError
from tests.analysis.attributions.eager import C, build, one, removed, sound, text

VARIANTS: dict[str, dict[str, Any]] = {
    **{score: {"score": score} for score in SCORES},
    "grouped": {"num_kv_heads": 2, "gate": "elementwise", "null_key": True},
    "window": {"window": 1, "rotary": True},
    "linear": {"linear": True},
    "differential": {"differential": True},
}


def allowed(model: Classifier) -> list[str]:
    return [name for name in METHODS if why_not(name, model) is None]


def test_the_order_of_the_methods() -> None:
    assert list(METHODS) == [
        "readout",
        "raw",
        "rollout",
        "flow",
        "gradient_rollout",
        "attention_gradient",
        "value_norms",
        "input_gradient",
        "integrated_gradients",
        "random",
        "uniform",
    ]
    assert all(name == method.name and method.title for name, method in METHODS.items())


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
def test_a_batch_gives_what_each_sample_gives_alone(variant: str, grid: bool, readout: str) -> None:
    if readout == "cls" and variant == "window":
        variant = "scaled_dot"
    model, batch = build(readout, grid=grid, **VARIANTS[variant]), sound() if grid else text()
    options = {"reference": removed(batch), "seed": 3}
    together = attribute(model, batch, allowed(model), **options)
    valid = model.token_layout(batch).valid
    for sample in range(len(valid)):
        options["reference"] = one(removed(batch), sample)
        alone = attribute(model, one(batch, sample), allowed(model), **options)
        for name, values in together.items():
            torch.testing.assert_close(
                values[sample], alone[name][0], rtol=1e-6, atol=1e-6, msg=name
            )
    for values in together.values():
        assert values.shape == valid.shape
        assert not values[~valid].any()


@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
def test_more_padding_changes_nothing(readout: str) -> None:
    model, batch = build(readout), one(text(), 0)
    short = {**batch, "inputs": batch["inputs"][:, :4], "spans": batch["spans"][:, :4]}
    wide, narrow = (attribute(model, given, allowed(model)) for given in (batch, short))
    for name, values in narrow.items():
        torch.testing.assert_close(wide[name][:, : values.shape[1]], values, rtol=1e-6, atol=1e-6)


def test_all_at_once_is_one_by_one() -> None:
    model, batch = build(), text()
    together = attribute(model, batch, list(METHODS))
    assert list(together) == list(METHODS)
    for name, values in together.items():
        assert torch.equal(values, attribute(model, batch, [name])[name])


def test_many_samples_are_recorded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build("cls"), text()
    target, reference = torch.tensor([2, 0, 1]), removed(text())
    whole = attribute(model, batch, allowed(model), target, reference=reference)
    module = __import__(attribute_function.__module__, fromlist=["MAX_RECORDING"])
    monkeypatch.setattr(module, "MAX_RECORDING", 1)
    parts = attribute(model, batch, allowed(model), target, reference=reference)
    for name, values in whole.items():
        torch.testing.assert_close(parts[name], values, rtol=1e-6, atol=1e-6)


@contextmanager
def nothing() -> Iterator[None]:
    yield


@pytest.mark.parametrize("context", [nothing, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_model_is_left_as_it_was(context: Any, frozen: bool) -> None:
    model, plain = build(), build()
    model.requires_grad_(not frozen)
    for parameter in model.parameters():
        parameter.grad = None if frozen else torch.full_like(parameter, 7.0)
    model.encoder.layers[0].dropout.training = True  # an odd mode of one's own
    model.encoder.layers[0].dropout.p = 0.0
    modes = [module.training for module in model.modules()]
    with context():
        batch = text()
        found = attribute(model, batch, list(METHODS))
    for name, values in attribute(plain, text(), list(METHODS)).items():
        torch.testing.assert_close(found[name], values)
        assert not values.requires_grad
    assert [module.training for module in model.modules()] == modes
    for parameter in model.parameters():
        assert parameter.requires_grad is not frozen
        assert parameter.grad is None if frozen else bool((parameter.grad == 7).all())
    for module in model.modules():
        assert not module._forward_pre_hooks
        assert not isinstance(module, Attention) or not hasattr(module, "observers")


def test_rollout_is_the_one_that_record_computes_without_maps() -> None:
    model, batch = build(), text()
    with torch.no_grad(), record(model, statistics=["rollout"]) as recording:
        model(batch)
    wanted = recording.statistics["rollout"]["encoder.layers.0.attention"]
    torch.testing.assert_close(attribute(model, batch, ["rollout"])["rollout"], wanted)


def test_shares_sum_to_one() -> None:
    batch = text()
    for readout in ("attention", "cls", "mean"):
        model = build(readout)
        found = attribute(model, batch, [*allowed(model), "raw:0", "raw:1.3"])
        for name in {"readout", "raw", "raw:0", "raw:1.3", "rollout", "random", "uniform"}:
            if name in found:
                torch.testing.assert_close(found[name].sum(1), torch.ones(3, dtype=torch.float64))


def test_what_a_null_key_takes_is_missing_from_rows() -> None:
    model = build(null_key=True)
    found = attribute(model, text(), ["readout", "rollout"])
    assert (found["readout"].sum(1) < 0.999).all()
    torch.testing.assert_close(found["rollout"].sum(1), found["readout"].sum(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_are_float32_or_wider(dtype: torch.dtype) -> None:
    model = build("attention").to(dtype)
    exact = attribute(build(), text(), list(METHODS))
    for name, values in attribute(model, text(), list(METHODS)).items():
        assert values.dtype == torch.float32
        if dtype == torch.float32:
            torch.testing.assert_close(values.double(), exact[name], rtol=1e-3, atol=1e-4)
        assert values.isfinite().all()


def test_the_class_explained_is_the_one_asked_for() -> None:
    model, batch = build(), text()
    by_default = attribute(model, batch, ["attention_gradient"])["attention_gradient"]
    found = [
        attribute(model, batch, ["attention_gradient"], torch.full((3,), label))
        for label in range(C)
    ]
    for sample, predicted in enumerate(model(batch).argmax(1).tolist()):
        torch.testing.assert_close(
            found[predicted]["attention_gradient"][sample], by_default[sample]
        )
    assert not torch.allclose(found[0]["attention_gradient"], found[1]["attention_gradient"])


def test_a_text_without_a_token_gets_nothing() -> None:
    batch = text()
    batch["inputs"][2], batch["lengths"][2] = 0, 0
    for readout in ("attention", "cls", "mean"):
        model = build(readout)
        for name, values in attribute(model, batch, allowed(model)).items():
            assert values.isfinite().all(), name
            assert not values[2, readout == "cls" :].any(), name


def test_random_follows_from_seed_and_sample() -> None:
    model, batch = build(), text()
    first, second = (attribute(model, batch, ["random"], seed=seed)["random"] for seed in (0, 1))
    assert not torch.equal(first, second)
    turned = {
        name: values[::-1] if isinstance(values, list) else values.flip(0)
        for name, values in batch.items()
    }
    torch.testing.assert_close(attribute(model, turned, ["random"])["random"].flip(0), first)
    batch["sample_id"] = ["a", "another", "c"]
    other = attribute(model, batch, ["random"])["random"]
    assert (other != first).any(1).tolist() == [False, True, False]


def test_uniform_and_random_leave_the_cls_token_out() -> None:
    found = attribute(build("cls"), text(), ["uniform", "random"])
    assert found["uniform"][0].tolist() == [0, 0.25, 0.25, 0.25, 0.25, 0, 0, 0]
    assert not found["random"][:, 0].any()


def test_without_layers() -> None:
    batch = text()
    model = build(depth=0)
    found = attribute(model, batch, allowed(model))
    assert list(found) == [name for name in METHODS if name not in ("raw", "input_gradient")]
    torch.testing.assert_close(found["rollout"], found["readout"])
    torch.testing.assert_close(found["flow"], found["readout"], rtol=0, atol=1e-8)
    for readout in ("cls", "mean"):
        model = build(readout, depth=0)
        assert allowed(model) == ["integrated_gradients", "random", "uniform"]
        assert attribute(model, batch, allowed(model))["uniform"].any()


REFUSED = [
    ({"window": 1}, "rollout", "neighbours only"),
    ({"window": 1}, "flow", "neighbours only"),
    ({"linear": True}, "rollout", "sums over all keys once"),
    ({"linear": True}, "flow", "sums over all keys once"),
    ({"differential": True}, "rollout", "signed maps"),
    ({"differential": True}, "flow", "signed maps"),
    ({"differential": True}, "gradient_rollout", "signed maps"),
    ({"differential": True}, "value_norms", "normalises the output of each head"),
    ({"readout": "mean"}, "readout", "is a mean"),
    ({"depth": 0}, "raw", "no layers"),
    ({"depth": 0}, "input_gradient", "no layers"),
    ({"depth": 0, "readout": "mean"}, "attention_gradient", "no layers"),
    ({}, "raw:2", "has 2 layers"),
    ({}, "raw:0.4", "has 4 heads"),
]


@pytest.mark.parametrize(("options", "method", "reason"), REFUSED)
def test_what_does_not_apply_is_refused_with_the_reason(
    options: dict[str, Any], method: str, reason: str
) -> None:
    model = build(**options)
    sentence = why_not(method, model)
    assert sentence is not None
    assert sentence.startswith(f"{method} does not apply here: ")
    assert reason in sentence
    assert sentence.endswith(".")
    with pytest.raises(InputError) as caught:
        attribute(model, text(), ["uniform", method])
    assert str(caught.value) == sentence


@pytest.mark.parametrize("options", [{"null_key": True}, {"gate": "headwise"}, {"rotary": True}])
def test_other_variants_allow_all(options: dict[str, Any]) -> None:
    assert allowed(build(**options)) == list(METHODS)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rolout", "Did you mean rollout?"),
        ("", "There is no attribution ''"),
        ("rollout:1", "There is no attribution 'rollout:1'"),
        ("raw:", "write raw:LAYER or raw:LAYER.HEAD"),
        ("raw:-1", "counted from 0"),
        ("raw:1.2.3", "counted from 0"),
        ("raw:²", "counted from 0"),
    ],
)
def test_names_that_do_not_exist(name: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        attribute(build(), text(), [name])
    assert sentence in str(caught.value)


def test_layers_and_heads_have_titles() -> None:
    assert find_method("raw:1").title == "layer 1"
    assert find_method("raw:1.3").title == "layer 1, head 3"


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_does_not_fit_the_batch() -> None:
    model, batch = build(), text()
    for target in (torch.zeros(2, dtype=torch.long), torch.zeros(3), torch.ones(3) > 0):
        with pytest.raises(InputError, match="one class for each of the 3 samples"):
            attribute(model, batch, ["raw"], target)
    for label in (-1, C):
        with pytest.raises(InputError, match="its classes are 0 to 2"):
            attribute(model, batch, ["raw"], torch.full((3,), label))
    with pytest.raises(InputError, match="the same batch with its tokens removed"):
        attribute(model, batch, ["integrated_gradients"], reference=one(batch, 0))
    with pytest.raises(InputError, match="2 ids for 3 samples"):
        attribute(model, {**batch, "sample_id": ["a", "b"]}, ["random"])
    del batch["sample_id"]
    attribute(model, batch, ["uniform"])
    with pytest.raises(InputError, match='"sample_id"'):
        attribute(model, batch, ["random"])
    with pytest.raises(InputError, match="eval mode"):
        attribute(model.train(), batch, ["raw"])
