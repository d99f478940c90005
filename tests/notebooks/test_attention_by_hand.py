"""The notebook runs, and its two examples give the right numbers."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

TELL = """
import json

print(
    json.dumps(
        {
            "scores": scores.flatten().tolist(),
            "scaled_scores": scaled_scores.flatten().tolist(),
            "weights": weights.flatten().tolist(),
            "output": output.flatten().tolist(),
            "widths": [model.query.weight.shape, model.key.weight.shape, model.value.weight.shape],
            "prediction": prediction.shape,
            "losses": losses,
            "row_sums": rows.sum(-1).tolist(),
            "found": (rows.argmax(-1) == marks).float().mean().item(),
        }
    )
)
"""


@pytest.fixture(scope="module")
def notebook_file(repository: Path) -> Path:
    return repository / "notebooks" / "attention_by_hand.ipynb"


@pytest.fixture(scope="module")
def executed(notebook_file: Path) -> nbformat.NotebookNode:
    """The notebook, executed now, with one more cell that tells its numbers."""
    notebook = nbformat.read(notebook_file, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(TELL))
    NotebookClient(notebook, timeout=120, kernel_name="python3", coalesce_streams=True).execute()
    return notebook


@pytest.fixture(scope="module")
def numbers(executed: nbformat.NotebookNode) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(executed.cells[-1].outputs[0].text)
    return told


@pytest.mark.slow
def test_worked_example(numbers: dict[str, Any]) -> None:
    assert numbers["scores"] == [40.0, 46.0]
    assert numbers["scaled_scores"] == pytest.approx([23.094, 26.558], abs=5e-4)
    assert numbers["weights"] == pytest.approx([0.0304, 0.9696], abs=5e-5)
    assert numbers["output"] == pytest.approx(numbers["weights"], rel=1e-5)


@pytest.mark.slow
def test_sample_program(numbers: dict[str, Any], executed: nbformat.NotebookNode) -> None:
    assert numbers["widths"] == [[64, 10], [64, 10], [32, 10]]
    assert numbers["prediction"] == [32, 1]
    assert len(numbers["losses"]) == 100
    assert numbers["losses"][-1] < 0.7 * numbers["losses"][0]
    printed = [
        line
        for cell in executed.cells
        for output in cell.get("outputs", [])
        for line in output.get("text", "").splitlines()
        if line.startswith("epoch")
    ]
    assert [int(line.split()[1]) for line in printed] == list(range(10, 101, 10))


@pytest.mark.slow
def test_map_shows_the_mark(numbers: dict[str, Any], executed: nbformat.NotebookNode) -> None:
    assert numbers["row_sums"] == pytest.approx([1.0] * 12, abs=1e-5)
    assert numbers["found"] == 1.0
    assert any("image/png" in output.data for output in executed.cells[-3].outputs)


def test_stored_outputs_are_there_to_read(notebook_file: Path) -> None:
    notebook = nbformat.read(notebook_file, as_version=4)
    text = json.dumps([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    assert "[0.0304, 0.9696]" in text
    assert "epoch 100" in text
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook_file.stat().st_size < 100_000
