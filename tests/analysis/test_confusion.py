"""Scores of classes against scikit-learn's, and `atlas info --classes`, also with 3,000 classes."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from attention_atlas.analysis.confusion import Confusion, class_scores, confusion_of, majority_rate
from attention_atlas.analysis.figures import confusion_figure
from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.run_folder import MAX_BYTES
from tests.commands import invoke_atlas

Pairs = list[tuple[int, int]]
PAIRS = st.integers(2, 5).flatmap(
    lambda c: st.lists(st.tuples(*[st.integers(0, c - 1)] * 2), min_size=1)
)


def made(pairs: Pairs, num_classes: int = 5) -> Confusion:
    return Confusion.of([str(index) for index in range(num_classes)], Counter(pairs))


@given(PAIRS)
def test_scores_are_those_of_scikit_learn(pairs: Pairs) -> None:
    labels, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    expected = precision_recall_fscore_support(
        labels, predicted, labels=range(5), zero_division=np.nan
    )
    scores = class_scores(made(pairs))
    found = [(each.precision, each.recall, each.f1, each.support) for each in scores]
    np.testing.assert_allclose(np.array(found).T, np.array(expected), equal_nan=True)


@given(PAIRS)
def test_what_is_saved_is_read_and_so_is_the_matrix_of_earlier_versions(pairs: Pairs) -> None:
    confusion = made(pairs)
    labels, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    matrix = confusion_matrix(labels, predicted, labels=range(5))
    for saved in (confusion.to_json(), matrix.tolist()):
        result = json.loads(json.dumps({"classes": list("01234"), "test/confusion_matrix": saved}))
        read = confusion_of(result)
        assert read.classes == confusion.classes
        np.testing.assert_array_equal(read.matrix(range(5)), matrix)
        np.testing.assert_array_equal(read.matrix([3, 1]), matrix[np.ix_([3, 1], [3, 1])])
        assert str(class_scores(read)) == str(class_scores(confusion))


def test_the_majority_is_that_of_the_labels() -> None:
    assert majority_rate(made([(0, 0)] * 3 + [(0, 1), (1, 0)], 2)) == 0.8
    assert math.isnan(majority_rate(made([], 2)))


def pairs_with(**columns: Any) -> dict[str, Any]:
    return {"label": [0, 1], "prediction": [0, 0], "count": [3, 1]} | columns


@pytest.mark.parametrize(
    "matrix",
    [
        *(None, [[1]], [[1, 2], [3]], [[1, -1], [0, 0]], "x", [[1, "a"], [0, 0]]),
        *([[10**30] * 2] * 2, {}, pairs_with(label=[0, 2]), pairs_with(prediction=[0, -1])),
        *(pairs_with(count=[1]), pairs_with(count=[1, -1]), pairs_with(count=None)),
        *(pairs_with(count=[[1], [2]]), pairs_with(label=1, prediction=1, count=1)),
    ],
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


NUM_CLASSES = 3_000


@pytest.fixture(scope="module")
def many_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with 3,000 classes, ten test samples of each, and 40 of the last one that are wrong."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(NUM_CLASSES), 10)
    predicted = np.where(rng.random(len(labels)) < 0.5, labels, rng.permutation(labels))
    labels = np.concatenate([labels, [NUM_CLASSES - 1] * 40])
    predicted = np.concatenate([predicted, [7] * 40])
    names = [f"class {index}" for index in range(NUM_CLASSES)]
    confusion = Confusion.of(names, Counter(zip(labels.tolist(), predicted.tolist(), strict=True)))
    run = tmp_path_factory.mktemp("many") / "run"
    run.mkdir()
    result = {"classes": names, "test/confusion_matrix": confusion.to_json()}
    write_json(run / "result.json", result)
    return run


def test_the_result_of_many_classes_is_small(many_classes: Path) -> None:
    assert (many_classes / "result.json").stat().st_size < MAX_BYTES / 20


def test_a_terminal_shows_the_worst_of_many_classes(many_classes: Path, tmp_path: Path) -> None:
    run = str(many_classes)
    done = invoke_atlas(tmp_path, "info", run, "--classes", COLUMNS="80")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) < 50
    assert "class 2999 " in done.stdout
    assert "of 3,000 classes" in done.stdout
    piped = invoke_atlas(tmp_path, "info", run, "--classes")
    assert len(piped.stdout.splitlines()) == 1 + NUM_CLASSES
    as_json = invoke_atlas(tmp_path, "info", run, "--classes", "--json")
    assert len(as_json.stdout) < MAX_BYTES / 20
    assert len(json.loads(as_json.stdout)["classes"]) == NUM_CLASSES


def test_the_figure_of_many_classes_names_those_with_the_most_errors(many_classes: Path) -> None:
    result = json.loads((many_classes / "result.json").read_text())
    figure = confusion_figure(confusion_of(result))
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == 60
    assert {"class 7", "class 2999"} <= set(names)
    assert axes.images[0].get_array().shape == (60, 60)
    assert "60 of 3,000 classes" in axes.get_title()
