"""A map as a picture: in the terminal, as a figure, of any array."""

import json

import numpy as np
import pytest
import torch

from attention_atlas.analysis.terminal_map import draw_map
from attention_atlas.console import make_console
from attention_atlas.plot import attention_map
from tests.commands import invoke_atlas


def lines(weights, queries, keys, width=80, signed=False) -> list[str]:
    console = make_console(width=width)
    return [line.plain for line in draw_map(console, weights, queries, keys, signed)]


def test_a_figure_has_the_tokens_on_both_axes() -> None:
    weights = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.2, 0.6]], requires_grad=True)
    figure = attention_map(weights, ["how", "$x$"], ["a", "b", "c"], title="layer 0")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["how", "$x$"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    np.testing.assert_allclose(axes.images[0].get_array(), weights.detach(), atol=1e-7)
    assert axes.get_title() == "layer 0"
    assert axes.images[0].get_clim() == (0, pytest.approx(0.9))
    signed = attention_map(weights - 0.5)
    low, high = signed.axes[0].images[0].get_clim()
    assert low == -high


@pytest.mark.parametrize(
    ("weights", "tokens", "sentence"),
    [
        (np.zeros((2, 3, 3)), None, r"shape \(2, 3, 3\); they must be \[Q, K\]"),
        (np.zeros((3, 2)), ["a", "b"], r"There are 2 query_tokens; the map \(3, 2\) needs 3"),
        (np.full((2, 2), np.nan), None, "hold NaN or infinity"),
        (np.zeros((0, 2)), None, "must be"),
    ],
)
def test_what_is_no_map_is_refused(weights, tokens, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        attention_map(weights, tokens)


def test_a_terminal_has_the_tokens_on_both_axes() -> None:
    drawn = lines(
        np.array([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]]), ["one", "two", "three"], ["x", "yes"]
    )
    assert [line[15:] for line in drawn] == ["  y ", "  e ", "x s ", "██  ", "  ▒▒", "    "]
    assert [line[:14].strip() for line in drawn[3:]] == ["one", "two", "three"]


def test_a_bright_cell_does_not_disappear_in_a_large_map() -> None:
    weights = np.zeros((500, 700))
    weights[317, 421] = -1.0
    tokens = [f"t{index}" for index in range(700)]
    drawn = lines(weights, tokens[:500], tokens, width=60, signed=True)
    assert all(len(line) <= 60 for line in drawn[:-1])
    assert sum("##" in line for line in drawn) == 1
    assert drawn[-1].startswith("each cell is the largest of several weights")


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_the_command_draws_a_map(task, trained_runs, tmp_path) -> None:
    run = str(trained_runs[task])
    drawn = invoke_atlas(tmp_path, "show", run, "--layer", "0", "--head", "1", "--map")
    assert drawn.exit_code == 0, drawn.output
    assert "layer 0, head 1" in drawn.output
    saved = invoke_atlas(tmp_path, "show", run, "--layer", "0", "--map", "--save", "map.png")
    assert saved.exit_code == 0, saved.output
    assert (tmp_path / "map.png").stat().st_size > 1000
    given = json.loads(
        invoke_atlas(tmp_path, "show", run, "--layer", "0", "--map", "--json").stdout
    )
    weights = np.array(given["map"])
    assert weights.shape == (len(given["tokens"]),) * 2
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-2)


@pytest.mark.parametrize(
    "options", [[], ["--layer", "0", "--query", "1"], ["--method", "rollout", "--layer", "0"]]
)
def test_a_map_needs_a_layer(options, trained_runs, tmp_path) -> None:
    done = invoke_atlas(tmp_path, "show", str(trained_runs["vision"]), "--map", *options)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: --")
