"""Scores of classes against scikit-learn's, and `atlas info --classes`."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from attention_atlas.analysis.confusion import class_scores, confusion_of, majority_rate
from attention_atlas.errors import InputError
from tests.commands import invoke_atlas


@given(
    st.integers(2, 5).flatmap(
        lambda c: st.lists(st.tuples(*[st.integers(0, c - 1)] * 2), min_size=1)
    )
)
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    names = [str(index) for index in range(5)]
    counts = confusion_matrix(labels, predicted, labels=range(5))
    scores = class_scores(names, counts)
    expected = precision_recall_fscore_support(
        labels, predicted, labels=range(5), zero_division=np.nan
    )
    found = [(each.precision, each.recall, each.f1, each.support) for each in scores]
    np.testing.assert_allclose(np.array(found).T, np.array(expected), equal_nan=True)


def test_the_majority_is_that_of_the_labels() -> None:
    assert majority_rate(np.array([[3, 1], [1, 0]])) == 0.8
    assert math.isnan(majority_rate(np.zeros((2, 2), dtype=np.int64)))


@pytest.mark.parametrize(
    "matrix",
    [None, [[1]], [[1, 2], [3]], [[1, -1], [0, 0]], "x", [[1, "a"], [0, 0]], [[10**30] * 2] * 2],
)
def test_what_is_no_confusion_matrix_is_refused(matrix: object) -> None:
    with pytest.raises(InputError, match="no confusion matrix"):
        confusion_of({"classes": ["a", "b"], "test/confusion_matrix": matrix})


def test_the_command_shows_each_class(trained_runs: dict[str, Path], tmp_path: Path) -> None:
    run = trained_runs["vision"]
    result = json.loads((run / "result.json").read_text())
    done = invoke_atlas(tmp_path, "info", str(run), "--classes")
    assert done.exit_code == 0, done.output
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["class", *result["classes"]]
    assert sum(int(row[-1]) for row in rows[1:]) == result["num_test_samples"]
    saved = invoke_atlas(tmp_path, "info", str(run), "--json", "--save", "confusion.png")
    assert saved.exit_code == 0, saved.output
    assert json.loads(saved.stdout)["confusion"] == result["test/confusion_matrix"]
    assert (tmp_path / "confusion.png").stat().st_size > 1000
