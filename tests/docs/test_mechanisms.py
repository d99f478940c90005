"""The page about the mechanisms agrees with what the module does and refuses."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from attention_atlas.attention import Attention, record
from attention_atlas.attention.scores import SCORES
from attention_atlas.attention_options import GATES, Mechanism

SETTINGS: dict[str, dict[str, Any]] = {
    **{f"attention={score}": {"score": score} for score in SCORES},
    "attention.num_kv_heads=2": {"num_kv_heads": 2},
    "attention.rotary=true": {"rotary": True},
    "attention.window=2": {"window": 2},
    **{f"attention.gate={gate}": {"gate": gate} for gate in GATES},
    "attention.null_key=true": {"null_key": True},
    "attention.differential=true": {"differential": True},
    "attention.linear=true": {"linear": True},
    "attention.dropout=0.1": {"dropout": 0.1},
}


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "mechanisms.md").read_text(encoding="utf-8")


def test_the_pairs_that_are_refused_are_those_of_the_page(page):
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `attention.")]
    named = {frozenset(re.findall(r"`(attention[^`]*)`", cell)) for cell in cells}
    pairs = {pair for pair in named if len(pair) == 2 and pair <= SETTINGS.keys()}
    refused = {
        frozenset(pair)
        for pair in itertools.combinations(SETTINGS, 2)
        if SETTINGS[pair[0]].keys() != SETTINGS[pair[1]].keys()
        and Mechanism(64, 4, grid_axes=2, **SETTINGS[pair[0]], **SETTINGS[pair[1]]).conflict()
    }
    # Compiling is refused with every score but one, and said so in words.
    assert pairs == refused
    assert len(refused) > 10


def test_every_score_and_option_has_a_section_with_its_override(page):
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))
    assert set(sections) == {
        *SCORES,
        *(re.split("[.=]", name)[1] for name in SETTINGS if "." in name.split("=")[0]),
    } - {"dropout"}
    for name, section in sections.items():
        override = f"`attention={name}`" if name in SCORES else f"`attention.{name}="
        assert override in section, name
        assert "arXiv" in section, name
        assert "**Cost:**" in section, name
        assert "**Not when**" in re.sub(r"\s+", " ", section), name


def test_rows_sum_to_what_the_page_says(page):
    words = dict(re.findall(r"^\| \[`attention\.(\w+)`\].*\| (.*?) \|$", page, re.MULTILINE))
    torch.manual_seed(0)
    for options in SETTINGS.values():
        module = Attention(64, 4, **options).eval()
        with torch.no_grad(), record(module, statistics=("null_share",)) as recording:
            module(3 * torch.randn(2, 9, 64))
        said = words.get(*options, "1")
        call = recording.calls["attention"][0]
        expected = torch.ones(2, 4, 9)
        if said.startswith("1 minus the weight of the null key"):
            expected -= recording.statistics["null_share"]["attention"]
            assert (expected < 1).all()
        elif said.startswith("1 - lambda"):
            expected -= module.differential.weight()
            assert (call.map < 0).any()
        else:
            assert said.split(",")[0] == "1"
        torch.testing.assert_close(call.map.sum(-1), expected)
        assert "zeros outside" not in said or (call.map == 0).any()
        assert ("may be negative" in said) == bool((call.map < 0).any())
