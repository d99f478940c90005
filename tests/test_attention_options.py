"""Options that do not go together are refused with a sentence that says why and what to take."""

import re
from itertools import product
from typing import Any

import pytest

from attention_atlas.attention_options import Mechanism, describe_mechanism

FITTING: list[dict[str, Any]] = [
    {},
    {"score": None, "rotary": True, "window": 3, "gate": "headwise", "null_key": True},
    {"num_kv_heads": 1},
    {"num_kv_heads": 4, "rotary": True, "window": 1, "gate": "elementwise", "dropout": 0.1},
    {"score": "cosine", "rotary": True, "null_key": True, "num_kv_heads": 2},
    {"score": "dot", "rotary": True, "differential": True, "window": 2},
    {"score": "additive", "compile": True, "null_key": True, "window": 3},
    {"score": "additive", "differential": True, "gate": "headwise"},
    {"score": "multiplicative", "differential": True, "num_kv_heads": 2},
    {"linear": True, "gate": "elementwise", "num_kv_heads": 2},
    {"rotary": True, "grid_axes": 2},
    {"rotary": True, "differential": True, "grid_axes": 2},
]

REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"embed_dim": 0}, ["embed_dim=0", "1 or more"]),
    ({"num_heads": 0}, ["num_heads=0", "1 or more"]),
    ({"num_kv_heads": 0}, ["num_kv_heads=0", "1 or more"]),
    ({"embed_dim": 30}, ["embed_dim=30", "num_heads=4", "Take embed_dim=28 or 32."]),
    ({"embed_dim": 3}, ["embed_dim=3", "Take embed_dim=4."]),
    ({"num_kv_heads": 3}, ["num_kv_heads=3", "num_heads=4", "1, 2, 4"]),
    ({"num_kv_heads": 8}, ["num_kv_heads=8", "num_heads=4", "1, 2, 4"]),
    ({"dropout": 1.0}, ["dropout=1.0", "from 0 to below 1"]),
    ({"dropout": -0.1}, ["dropout=-0.1", "from 0 to below 1"]),
    ({"dropout": float("nan")}, ["dropout=nan"]),
    ({"window": 0}, ["window=0", "1 or more"]),
    ({"gate": "layerwise"}, ["gate=layerwise", "headwise or elementwise"]),
    ({"rotary": True, "score": "additive"}, ["rotary", "score=additive", "scaled_dot or cosine"]),
    ({"rotary": True, "score": "multiplicative"}, ["score=multiplicative", "distance"]),
    (
        {"rotary": True, "embed_dim": 36},
        ["rotary needs", "multiple of 2", "heads of 9", "embed_dim=32 or 40"],
    ),
    (
        {"rotary": True, "grid_axes": 2, "embed_dim": 40},
        ["rows and columns", "multiple of 4", "heads of 10", "embed_dim=32 or 48"],
    ),
    (
        {"rotary": True, "differential": True, "embed_dim": 40},
        ["rotary with differential needs", "multiple of 4", "embed_dim=32 or 48"],
    ),
    (
        {"rotary": True, "differential": True, "grid_axes": 2, "embed_dim": 48},
        ["rotary with differential on a grid", "multiple of 8", "embed_dim=32 or 64"],
    ),
    ({"differential": True, "embed_dim": 36}, ["differential needs", "multiple of 2"]),
    ({"differential": True, "null_key": True}, ["differential", "null_key", "Leave one"]),
    ({"linear": True, "score": "cosine"}, ["linear", "score=cosine", "score=scaled_dot"]),
    ({"linear": True, "score": None}, ["linear", "a score of your own", "score=scaled_dot"]),
    ({"linear": True, "window": 3}, ["linear does not go with window", "Leave one"]),
    ({"linear": True, "null_key": True}, ["linear does not go with null_key", "softmax"]),
    ({"linear": True, "differential": True}, ["linear does not go with differential"]),
    ({"linear": True, "rotary": True}, ["linear does not go with rotary", "feature map"]),
    ({"linear": True, "dropout": 0.1}, ["linear does not go with dropout", "weights"]),
    ({"compile": True}, ["compile", "score=scaled_dot", "score=additive"]),
    ({"compile": True, "score": None}, ["compile", "a score of your own", "score=additive"]),
    ({"compile": True, "linear": True}, ["compile", "additive"]),
]


@pytest.mark.parametrize("options", FITTING, ids=str)
def test_what_goes_together_is_let_through(options: dict[str, Any]) -> None:
    assert Mechanism(32, 4, **options).conflict() is None


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=str)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], words: list[str]) -> None:
    sentence = Mechanism(**{"embed_dim": 32, "num_heads": 4, **options}).conflict()
    assert sentence is not None
    for word in words:
        assert word in sentence
    assert sentence.endswith(".")
    assert "None" not in sentence


def test_names_are_those_of_the_config() -> None:
    for options, _ in REFUSED:
        given = {"embed_dim": 32, "num_heads": 4, **options}
        sentence = Mechanism(**given, prefix="attention.", size_prefix="encoder.").conflict()
        assert sentence is not None
        assert not re.search(r"(?<!\.)\b\w+=", sentence), sentence
        assert "encoder." in sentence or "attention." in sentence


def test_a_width_that_is_proposed_is_accepted() -> None:
    switches = product((32, 34, 36, 40, 44), (1, 2, 3, 4), (False, True), (False, True), (1, 2))
    for embed_dim, num_heads, rotary, differential, grid_axes in switches:
        options = {"rotary": rotary, "differential": differential, "grid_axes": grid_axes}
        while sentence := Mechanism(embed_dim, num_heads, **options).conflict():
            proposed = int(sentence.rpartition(" ")[2].removeprefix("embed_dim=").rstrip("."))
            assert proposed != embed_dim
            embed_dim = proposed
        assert embed_dim % num_heads == 0


def test_a_mechanism_is_named_by_its_score_and_what_was_added() -> None:
    assert describe_mechanism({"score": "dot", "bias": True, "window": None}) == "dot"
    assert describe_mechanism({"score": "scaled_dot", "linear": True}) == "linear"
    options = {"score": "cosine", "rotary": True, "window": 8, "gate": "headwise", "dropout": 0.1}
    assert describe_mechanism(options) == "cosine, rotary, window=8, gate=headwise"
