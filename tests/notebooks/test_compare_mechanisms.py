"""The notebook that compares five scores runs on tiny runs, and shows what they say."""

import base64
import io
import itertools
import json
import re
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

from attention_atlas.atlas import open_atlas

pytestmark = pytest.mark.slow

NAME = "compare_mechanisms.ipynb"
SCORES = ("scaled_dot", "dot", "cosine", "multiplicative", "additive")
TASKS = ("nlp", "vision", "speech")
TABLE_CELL, FIGURE_CELL, PAIRS_CELL, SAMPLES_CELL = "cell-05", "cell-09", "cell-11", "cell-13"
MEASURED = ("speech",)  # tasks whose faithfulness is measured: both cases are met


@pytest.fixture(scope="module")
def sweep(
    tiny: dict[str, list[str]],
    run_training: Callable[..., dict[str, Any]],
    compose_train: Callable[..., DictConfig],
    shared_folder: Path,
) -> Path:
    """A folder like that of `experiment=mechanisms`: five scores x three tasks, and a gate."""
    folder = shared_folder / "mechanisms"
    with FileLock(f"{folder}.lock"):
        if not (folder / "finished").is_file():
            for attention, task in [*itertools.product(SCORES, TASKS), ("gated", "nlp")]:
                run = folder / f"attention-{attention}_seed-0_task-{task}"
                overrides = [
                    *tiny[task],
                    f"attention={attention}",
                    "trainer.max_epochs=1",
                    "capture.num_samples=8",
                ]
                run_training(overrides, run)
                (run / ".hydra").mkdir(exist_ok=True)
                config = OmegaConf.to_yaml(compose_train(overrides, run))
                (run / ".hydra" / "config.yaml").write_text(config, encoding="utf-8")
                if task in MEASURED and attention in SCORES:
                    _measure(run)
            (folder / "finished").touch()
    return folder


def _measure(run: Path) -> None:
    from attention_atlas.pipeline.faithfulness import measure_run  # torch, which few tests need

    measure_run(run, ["readout"], num_samples=4, steps=2)


@pytest.fixture(scope="module")
def executed(
    execute_once: Callable[..., nbformat.NotebookNode], sweep: Path
) -> nbformat.NotebookNode:
    return execute_once(NAME, "mechanisms", ATLAS_RUNS=str(sweep))


def outputs_of(notebook: nbformat.NotebookNode, name: str) -> list[Any]:
    (cell,) = (cell for cell in notebook.cells if cell.id == name)
    return list(cell.outputs)


def picture_in(output: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))


def tables_of(notebook: nbformat.NotebookNode) -> dict[str, list[dict[str, str]]]:
    """The rows of the first table of each task."""
    (shown,) = outputs_of(notebook, TABLE_CELL)
    tables: dict[str, list[dict[str, str]]] = {}
    for part in re.split(r"^\*\*(?=\w+, )", shown.data["text/markdown"], flags=re.MULTILINE)[1:]:
        task = part.partition(",")[0]
        first = part.partition("\n\n")[2].partition("\n\n")[0]
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in first.splitlines()]
        tables[task] = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    return tables


def results_of(sweep: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sweep.glob("*/result.json")]
    return {(result["task"], result["attention"]): result for result in found}


@pytest.mark.slow
def test_nothing_complains(executed: nbformat.NotebookNode) -> None:
    everything = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert everything
    assert not [output for output in everything if output.output_type == "error"]
    assert not [output for output in everything if output.get("name") == "stderr"]


@pytest.mark.slow
def test_table_has_a_row_for_each_score_and_task(
    executed: nbformat.NotebookNode, sweep: Path
) -> None:
    tables, results = tables_of(executed), results_of(sweep)
    assert len(results) == 16  # with the gate, which nobody asked for
    assert sorted(tables) == sorted(TASKS)
    for task, rows in tables.items():
        assert [row["attention"] for row in rows] == list(SCORES)
        for row in rows:
            accuracy = 100 * results[task, row["attention"]]["test/accuracy"]
            told = row["accuracy (%)"].strip("*").split()[0]
            assert float(told) == pytest.approx(accuracy, abs=0.006)
            assert row["runs"] == "1"
            assert 0 <= float(row["relative entropy"]) <= 1


@pytest.mark.slow
def test_table_has_faithfulness_where_it_was_measured(executed: nbformat.NotebookNode) -> None:
    (shown,) = outputs_of(executed, TABLE_CELL)
    text = shown.data["text/markdown"]
    assert text.count("| attention | runs | readout |") == len(MEASURED)
    assert text.count("comprehensiveness over random by attribution method") == len(MEASURED)


@pytest.mark.slow
def test_figure_has_a_row_of_panels_for_each_task(executed: nbformat.NotebookNode) -> None:
    (shown,) = outputs_of(executed, FIGURE_CELL)
    picture = picture_in(shown)
    assert picture.width > 1400
    assert picture.height > 1000
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10


@pytest.mark.slow
def test_pair_is_compared_sample_by_sample(executed: nbformat.NotebookNode, sweep: Path) -> None:
    (told,) = outputs_of(executed, PAIRS_CELL)
    lines = told.text.splitlines()
    for task in TASKS:
        first, second = (
            open_atlas(sweep / f"attention-{name}_seed-0_task-{task}")
            for name in ("scaled_dot", "additive")
        )
        others = {sample.sample_id: sample.prediction for sample in second}
        same = sum(sample.prediction == others[sample.sample_id] for sample in first)
        wanted = f"{task}: of {len(first)} samples {same} are predicted the same"
        assert [line for line in lines if line.startswith(wanted)]
    divergences = [float(bits) for bits in re.findall(r"are (\d\.\d\d) bits apart", told.text)]
    assert len(divergences) == 6  # the readout and the one layer of each task
    assert all(0 <= bits <= 1 for bits in divergences)


@pytest.mark.slow
def test_samples_that_differ_are_drawn(executed: nbformat.NotebookNode) -> None:
    shown = outputs_of(executed, SAMPLES_CELL)
    pictures = [picture_in(output) for output in shown if "data" in output]
    assert len(pictures) == len(TASKS)
    assert all(picture.width > 2 * picture.height for picture in pictures)


def test_without_runs_it_shows_the_command(
    execute: Callable[..., nbformat.NotebookNode], tmp_path: Path
) -> None:
    with pytest.raises(CellExecutionError) as stopped:
        execute(NAME, tmp_path)
    assert stopped.value.ename == "SystemExit"
    assert "python train.py experiment=mechanisms" in stopped.value.evalue


def test_stored_outputs_are_small_and_of_no_machine(repository: Path) -> None:
    path = repository / "notebooks" / NAME
    notebook = nbformat.read(path, as_version=4)
    tables = tables_of(notebook)
    assert {task: len(rows) for task, rows in tables.items()} == dict.fromkeys(TASKS, 5)
    assert picture_in(outputs_of(notebook, FIGURE_CELL)[0]).width > 1400
    text = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert not re.search(r"/(work|tmp|home|root|usr)/", re.sub(r'"image/png": "[^"]*"', "", text))
    assert path.stat().st_size < 600_000
