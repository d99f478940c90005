"""Evidence for finished runs of all three tasks."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attention_atlas.analysis.attributions import METHODS
from attention_atlas.analysis.faithfulness import METRICS, Faithfulness
from attention_atlas.analysis.faithfulness.result import verdict
from attention_atlas.atlas import open_atlas
from attention_atlas.errors import InputError
from attention_atlas.pipeline.faithfulness import (
    attribute_sample,
    head_importance_of,
    measure_run,
)

TASKS = ["nlp", "vision", "speech"]
FILES = ["faithfulness.csv", "faithfulness.json", "faithfulness.png"]


@pytest.fixture
def copied(trained_runs: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Runs that may be written to."""
    return {task: shutil.copytree(folder, tmp_path / task) for task, folder in trained_runs.items()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("task", TASKS)
def test_a_run_gets_its_evidence(copied: dict[str, Path], task: str) -> None:
    folder = copied[task]
    before = names(folder)
    calls: list[tuple[int, int]] = []
    found = measure_run(
        folder, num_samples=6, steps=3, progress=lambda done, total: calls.append((done, total))
    )
    assert names(folder) - before == set(FILES)
    assert calls[-1][0] == calls[-1][1]
    # On all methods, of test samples that the atlas shows, as many of each class.
    assert set(found.methods) | set(found.refused) == {*METHODS, "leave_one_out"}
    samples = {sample.sample_id: sample for sample in open_atlas(folder)}
    assert set(found.sample_ids) <= set(samples)
    labels = [samples[sample_id].label for sample_id in found.sample_ids]
    assert sorted(labels) == [0, 0, 0, 1, 1, 1]
    # The files hold the same.
    content = json.loads((folder / "faithfulness.json").read_text(encoding="utf-8"))
    json.dumps(content, allow_nan=False)
    assert Faithfulness.from_json(content) == found
    assert content["verdict"] == verdict(found)
    with (folder / "faithfulness.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows())
    for row, expected in zip(rows, found.rows(), strict=True):
        assert row == {name: "" if v is None else str(v) for name, v in expected.items()}
    assert {row["metric"] for row in rows} == set(METRICS)
    with Image.open(folder / "faithfulness.png") as image:
        assert min(image.size) > 300
        assert np.asarray(image.convert("L")).std() > 5, "the figure is empty"
    for values in found.values.values():
        known = [v for v in values["deletion_auc"] if v is not None]
        assert all(0 <= value <= 1 for value in known)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.slow
def test_the_same_numbers_twice(copied: dict[str, Path], task: str) -> None:
    methods = ["raw", "integrated_gradients"]
    first = measure_run(copied[task], methods, num_samples=2, steps=2)
    files = {name: (copied[task] / name).read_bytes() for name in FILES}
    assert measure_run(copied[task], methods, num_samples=2, steps=2) == first
    assert {name: (copied[task] / name).read_bytes() for name in FILES} == files


@pytest.mark.slow
def test_another_seed_changes_what_is_random(copied: dict[str, Path]) -> None:
    first, other = (
        measure_run(copied["nlp"], ["raw"], num_samples=4, steps=3, seed=seed) for seed in (0, 1)
    )
    assert other.sample_ids == first.sample_ids
    assert other.values["raw"]["sufficiency"] == first.values["raw"]["sufficiency"]
    assert other.values["random"]["sufficiency"] != first.values["random"]["sufficiency"]


@pytest.mark.parametrize(
    ("task", "removal"), [("nlp", "pad"), ("vision", "mean"), ("speech", "silence")]
)
@pytest.mark.slow
def test_another_removal_gives_other_numbers(
    copied: dict[str, Path], task: str, removal: str
) -> None:
    default = measure_run(copied[task], ["raw"], num_samples=2, steps=3)
    other = measure_run(copied[task], ["raw"], num_samples=2, steps=3, removal=removal)
    assert other.removal == removal != default.removal
    assert other.sample_ids == default.sample_ids
    assert other.values["raw"]["deletion_auc"] != default.values["raw"]["deletion_auc"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_samples": 0}, "num_samples=0"),
        ({"removal": "silence"}, "removal=silence is not possible for text"),
        ({"methods": ["attention"]}, "attention"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    copied: dict[str, Path], options: dict[str, object], sentence: str
) -> None:
    before = names(copied["nlp"])
    with pytest.raises(InputError, match=sentence):
        measure_run(copied["nlp"], **{"num_samples": 2, **options})
    assert names(copied["nlp"]) == before


@pytest.mark.parametrize("task", TASKS)
def test_attributions_fit_the_tokens_of_the_atlas(trained_runs: dict[str, Path], task: str) -> None:
    atlas = open_atlas(trained_runs[task])
    methods = ["raw", "readout", "input_gradient", "integrated_gradients", "random"]
    for sample in (atlas[0], atlas[len(atlas) - 1]):
        found = attribute_sample(trained_runs[task], sample.sample_id, methods)
        assert list(found) == methods
        for values in found.values():
            assert values.shape == (len(sample.boxes),)
            assert values.dtype == np.float32
            assert np.isfinite(values).all()
            assert values.any()
        # The readout row that was captured when the run was tested is the same model's.
        readout = np.asarray(sample.readout, dtype=np.float32).mean(axis=0)
        np.testing.assert_allclose(found["readout"], readout, atol=2e-3)
    again = attribute_sample(trained_runs[task], sample.sample_id, methods)
    for method, values in found.items():
        np.testing.assert_array_equal(again[method], values)


def test_a_sample_that_is_not_there(trained_runs: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="no sample 'nobody'"):
        attribute_sample(trained_runs["vision"], "nobody", ["raw"])


@pytest.mark.parametrize("task", TASKS)
def test_heads_of_a_run_have_an_importance(trained_runs: dict[str, Path], task: str) -> None:
    done: list[int] = []
    found = head_importance_of(trained_runs[task], num_samples=6, progress=done.append)
    assert found.layers.shape == (1, 2)
    assert (found.layers > 0).all()
    again = head_importance_of(trained_runs[task], num_samples=6)
    np.testing.assert_array_equal(again.layers, found.layers)
    assert done
