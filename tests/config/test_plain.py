"""Interpolations are resolved as OmegaConf resolves them."""

import pytest
from omegaconf import OmegaConf

from attention_atlas.config.plain import plain, resolved
from attention_atlas.errors import InputError

VALUES = [
    *("${a.number}", "${a.text}/x", "x ${a.text} ${a.list.0}", "${a.number} apples", "${a.none}"),
    *(
        "${a.link}",
        "${a}",
        "${a.linked.text}",
        "\\${a.text}",
        "a\\\\${a.text}",
        "${a.list}",
        "${.a}",
    ),
    *(
        "${ a.text }",
        "${a[text]}",
        "${a.${a.name}}",
        "${oc.decode:'[1, 2]'}",
        "$a {a}",
        "${a.true}",
    ),
    *("${a.text}${a.text}", "${a.odd}", "{a: ${a.text}}", "${a.linked}"),
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_that_of_omegaconf(value: str) -> None:
    nodes = {"number": 1, "text": "t", "list": [1, "${a.text}"], "none": None, "name": "text"}
    nodes |= {"link": "${a.number}", "true": True, "odd": "${a.text}\\x"}
    if value != "${a}":
        nodes["linked"] = "${b}"
    config = OmegaConf.create({"a": nodes, "b": {"text": "${a.text}"}, "value": value, 1: "one"})
    assert resolved(config) == plain(config)


@pytest.mark.parametrize("value", ["${none}", "${a.none}", "???", "${value}", "${b}"])
def test_what_leads_nowhere_is_named(value: str) -> None:
    config = OmegaConf.create({"a": {"text": "t"}, "value": value, "b": "${value}"})
    with pytest.raises(InputError, match="cannot be resolved"):
        resolved(config)
