"""The check itself: it finds a wrong map, and what cannot be recorded is refused."""

import logging
import warnings

import pytest
import transformers

from attention_atlas.attention import torch_functions
from attention_atlas.attention.scores import ScaledDot
from tests.conformance.check import check


@pytest.fixture(autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", ["bert", "gpt_oss", "deberta", "blip", "cpmant", "squeezebert"])
def test_right(name) -> None:
    result = check(name)
    assert (result.kind, result.remark[:11]) in [("right", ""), ("right", "no generate")]
    assert result.maps >= 6


def test_wrong_maps_are_found(monkeypatch) -> None:
    monkeypatch.setattr(torch_functions, "ScaledDot", lambda scale: ScaledDot(1.1 * scale))
    result = check("bert")
    assert result.kind == "wrong"
    assert "encoder.layer.0.attention.self differs by" in result.remark


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("longformer", "LongformerSelfAttention attends in a way that is not known"),  # of bands
        ("granite_swa", "is not the average of the values"),  # a sink scales the average
        ("hiera", "HieraMaskUnitAttention attends in a way that is not known"),  # of units
        ("maskformer-swin", "'NoneType' object is not subscriptable"),  # fails when it is asked
    ],
)
def test_weights_that_are_no_maps_are_refused(name, message) -> None:
    result = check(name)
    assert result.kind == "refused"
    assert message in result.remark
