"""The notebook that opens an atlas runs on each task, and its numbers are those of the run."""

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from filelock import FileLock
from nbclient.exceptions import CellExecutionError
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from attention_atlas.atlas import Atlas, open_atlas

pytestmark = pytest.mark.slow

NAME = "inspect_maps.ipynb"
TASKS = ("nlp", "vision", "speech")
TELL = """
print(
    json.dumps(
        {
            "sample": sample.sample_id,
            "methods": methods,
            "attributions": {name: values[0].tolist() for name, values in weights.items()},
            "relative_entropy": statistics.mean["relative_entropy"].tolist(),
            "measured": measured.sample_ids,
            "verdict": verdict(measured),
            "sizes": dict(dataset.sizes),
        }
    )
)
"""


@pytest.fixture(scope="module")
def runs(
    trained_runs: dict[str, Path],
    tiny: dict[str, list[str]],
    run_training: Callable[..., dict[str, Any]],
    compose_train: Callable[..., DictConfig],
    shared_folder: Path,
) -> dict[str, Path]:
    """A run of each task; that of images recorded every epoch of training too."""
    followed = shared_folder / "followed-vision"
    with FileLock(f"{followed}.lock"):
        if not (followed / ".hydra").is_dir():
            overrides = [*tiny["vision"], "capture=full", "capture.every_n_epochs=1"]
            run_training(overrides, followed)
            (followed / ".hydra").mkdir(exist_ok=True)
            config = OmegaConf.to_yaml(compose_train(overrides, followed))
            (followed / ".hydra" / "config.yaml").write_text(config, encoding="utf-8")
    return {**trained_runs, "vision": followed}


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def atlas(runs: dict[str, Path], task: str) -> Atlas:
    return open_atlas(runs[task])


@pytest.fixture
def executed(
    execute_once: Callable[..., nbformat.NotebookNode], runs: dict[str, Path], task: str
) -> nbformat.NotebookNode:
    return execute_once(NAME, task, TELL, ATLAS_RUN=str(runs[task]))


@pytest.fixture
def told(executed: nbformat.NotebookNode) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads(executed.cells[-1].outputs[0].text)
    return numbers


def outputs(notebook: nbformat.NotebookNode, kind: str) -> list[Any]:
    return [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == kind
    ]


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in outputs(notebook, "stream"))


@pytest.mark.slow
def test_every_figure_is_drawn(executed: nbformat.NotebookNode, atlas: Atlas) -> None:
    assert [output.text for output in outputs(executed, "stream") if output.name == "stderr"] == []
    shown = [*outputs(executed, "display_data"), *outputs(executed, "execute_result")]
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) for output in shown
    ]
    # Readout, maps, one row, heads, attributions, faithfulness; and the history, if there is one.
    assert len(pictures) == 6 + (len(atlas.epochs) > 1)
    for picture in pictures:
        assert min(picture.size) >= 200
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


@pytest.mark.slow
def test_facts_are_those_of_the_run(executed: nbformat.NotebookNode, atlas: Atlas) -> None:
    result = json.loads((atlas.path.parent / "result.json").read_text(encoding="utf-8"))
    text = printed(executed)
    assert f"task       {atlas.task}, on {atlas.data}: {', '.join(atlas.classes)}" in text
    assert f"accuracy   {result['test/accuracy']:.1%} of {len(atlas)} test samples" in text
    assert f"full maps  of {len(atlas.mapped_sample_ids)} of them" in text


@pytest.mark.slow
def test_attributions_are_of_the_sample_in_the_atlas(told: dict[str, Any], atlas: Atlas) -> None:
    sample = atlas.sample(told["sample"])
    assert told["methods"] == ["readout", "rollout", "attention_gradient", "integrated_gradients"]
    assert all(len(values) == sample.length for values in told["attributions"].values())
    # The model was loaded again, and reads the sample as it did when it was recorded.
    assert told["attributions"]["readout"] == pytest.approx(sample.readout.mean(axis=0), abs=1e-4)


@pytest.mark.slow
def test_numbers_are_those_of_all_samples(told: dict[str, Any], atlas: Atlas) -> None:
    by_hand = np.mean([s.entropy / np.log(s.length) for s in atlas if s.length > 1], axis=0)
    np.testing.assert_allclose(told["relative_entropy"], by_hand, rtol=1e-4)
    assert told["sizes"]["sample"] == len(atlas)
    assert told["sizes"]["layer"] == len(atlas.layers)
    assert told["sample"] in told["measured"]
    assert set(told["measured"]) <= set(atlas.sample_ids)
    assert "random" in told["verdict"]


@pytest.mark.slow
def test_history_is_shown_where_there_is_one(executed: nbformat.NotebookNode, atlas: Atlas) -> None:
    text = printed(executed)
    if len(atlas.epochs) == 1:
        assert "there is no history to draw" in text
        return
    followed = next(atlas.samples(atlas.epochs[0]))
    seen = [line.strip() for line in text.splitlines() if line.startswith("  epoch ")]
    assert len(seen) == 2
    assert seen == [
        f"epoch {sample.epoch}: predicted {sample.prediction_name}"
        for sample in atlas.history(followed.sample_id)
    ]


def test_newest_finished_run_is_chosen(
    execute: Callable[..., nbformat.NotebookNode], runs: dict[str, Path], tmp_path: Path
) -> None:
    for time, (name, task) in enumerate({"b": "nlp", "c": "speech", "a": "nlp"}.items()):
        copy = tmp_path / "outputs" / name / "run"
        shutil.copytree(runs[task], copy)
        os.utime(copy / "result.json", (time, time))
    (tmp_path / "outputs" / "a" / "run" / "result.json").unlink()  # the newest is not finished
    notebook = execute(NAME, tmp_path, num_cells=4)
    assert "outputs/c/run" in printed(notebook)
    assert "speech, on audio_folder" in printed(notebook)


def test_without_a_run_it_says_what_to_do(
    execute: Callable[..., nbformat.NotebookNode], tmp_path: Path
) -> None:
    with pytest.raises(CellExecutionError) as stopped:
        execute(NAME, tmp_path)
    assert stopped.value.ename == "SystemExit"
    assert "no finished run" in stopped.value.evalue
    assert "`python train.py task=vision`" in stopped.value.evalue


def test_stored_outputs_are_small_and_of_no_machine(repository: Path) -> None:
    path = repository / "notebooks" / NAME
    notebook = nbformat.read(path, as_version=4)
    assert len(outputs(notebook, "execute_result")) >= 5
    assert outputs(notebook, "error") == []
    text = printed(notebook)
    assert "predicted right: relative entropy" in text
    assert not re.search(r"/(work|tmp|home|root|usr)/", text)
    assert path.stat().st_size < 600_000
