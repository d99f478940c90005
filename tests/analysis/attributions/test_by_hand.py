"""The formulas on examples small enough to be worked out with pencil and paper."""

import numpy as np
import pytest
import torch
from torch import Tensor

from attention_atlas.analysis.attributions.rollout import (
    maximum_flows,
    mixing,
    propagate,
    roll_out,
    weighted,
)
from attention_atlas.analysis.attributions.weights import norms, pool_rows


def tensor(numbers: list) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def close(actual: Tensor, wanted: list) -> None:
    torch.testing.assert_close(actual, tensor(wanted))


def test_rows_are_pooled_over_heads_and_queries() -> None:
    maps = tensor([[[[0.2, 0.8], [0.6, 0.4]], [[0.4, 0.6], [1.0, 0.0]]]])
    close(pool_rows(maps, tensor([[1, 0]])), [[0.3, 0.7]])
    close(pool_rows(maps, tensor([[0.5, 0.5]])), [[0.55, 0.45]])


def test_half_of_a_token_is_itself() -> None:
    heads = tensor([[[[1, 0], [0, 1]], [[0, 1], [0, 1]]]])  # their mean: [[.5, .5], [0, 1]]
    close(mixing(heads), [[[0.75, 0.25], [0, 1]]])


def test_what_a_null_key_took_is_given_to_the_rest_of_the_same_row() -> None:
    """Sums without their dimension kept would give 6/7 and 1/10 in the first row."""
    maps = tensor([[[[0.2, 0.2], [0, 1]]]])
    close(mixing(maps), [[[6 / 7, 1 / 7], [0, 1]]])


def test_rollout_of_two_layers() -> None:
    first = tensor([[[[0.2, 0.8, 0], [0.5, 0.5, 0], [0.1, 0.3, 0.6]]]])
    second = tensor([[[[0, 0.4, 0.6], [1, 0, 0], [0, 0, 1]]]])
    # Row 0 of the second with its identity: .5 .2 .3; of the first: .6 .4 0, .25 .75 0, .05 .15 .8.
    close(roll_out([first, second], tensor([[1, 0, 0]])), [[0.365, 0.395, 0.24]])
    close(roll_out([first, second], tensor([[0, 0, 1]])), [[0.05, 0.15, 0.8]])
    close(roll_out([], tensor([[0.7, 0.2, 0.1]])), [[0.7, 0.2, 0.1]])


def test_only_what_speaks_for_the_class_counts_in_each_head() -> None:
    maps = tensor([[[[0.5, 0.5]], [[0.25, 0.75]]]])
    gradients = tensor([[[[6, -2]], [[-4, 4]]]])
    close(weighted(maps, gradients), [[[1.5, 1.5]]])


def test_gradient_rollout_of_two_layers() -> None:
    first = weighted(tensor([[[[0.5, 0.5], [0.25, 0.75]]]]), tensor([[[[2, -2], [4, 0]]]]))
    second = weighted(tensor([[[[0.2, 0.8], [0.6, 0.4]]]]), tensor([[[[0, 5], [1, 1]]]]))
    close(first, [[[1, 0], [1, 0]]])
    close(second, [[[0, 4], [0.6, 0.4]]])
    # (1, 0) (I + second) = (1, 4); (1, 4) (I + first) = (1 + 1 + 4, 4).
    close(propagate([first, second], tensor([[1, 0]])), [[6, 4]])
    # The layers the wrong way round: (1, 0) (I + first) = (2, 0); then (2, 8).
    close(propagate([second, first], tensor([[1, 0]])), [[2, 8]])


def test_heads_are_summed_before_the_norm() -> None:
    maps = tensor([[[[0.6, 0.4]], [[0.8, 0.2]]]])
    values = tensor([[[[5], [10]], [[5], [15]]]])
    # Token 0 sends (3, 4), token 1 (4, 3).
    weights = tensor([[1]])
    close(norms(maps, values, torch.eye(2).double(), weights), [[5, 5]])
    opposed = tensor([[1, -1], [0, 0]])
    close(norms(maps, values, opposed, weights), [[1, 1]])
    closed = tensor([[[[0], [1]]]])  # the first head's gate
    close(norms(maps, values, torch.eye(2).double(), weights, closed), [[4, 3]])


def test_norms_are_weighted_by_query() -> None:
    maps = tensor([[[[1, 0], [0.5, 0.5]]]])
    values = tensor([[[[3, 4], [0, 2]]]])
    close(norms(maps, values, torch.eye(2).double(), tensor([[0.5, 0.5]])), [[3.75, 0.5]])


def test_flow_is_as_wide_as_the_narrowest_edge_of_each_path() -> None:
    first = np.array([[0.6, 0.4], [0.1, 0.9]])
    second = np.array([[0.5, 0.5], [0.25, 0.75]])
    source = np.array([1.0, 0.0])
    # To token 0: min(.5, .6) by token 0 and min(.5, .1) by token 1; to token 1: .4 and .5.
    flows = maximum_flows([first, second], source)
    assert flows == pytest.approx([0.6, 0.9], abs=1e-9)
    assert maximum_flows([first], source) == pytest.approx([0.6, 0.4], abs=1e-9)
