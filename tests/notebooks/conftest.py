"""Notebooks executed on tiny runs: once in a test session, for all its processes."""

import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from nbclient import NotebookClient


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the test session see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def execute(repository: Path) -> Callable[..., nbformat.NotebookNode]:
    """Execute a notebook of the project."""

    def run(
        name: str, folder: Path, tell: str = "", num_cells: int | None = None, **variables: str
    ) -> nbformat.NotebookNode:
        """Run its first cells, or all, in a folder; `tell` is one more cell at its end."""
        notebook = nbformat.read(repository / "notebooks" / name, as_version=4)
        notebook.cells = notebook.cells[:num_cells]
        if tell:
            notebook.cells.append(nbformat.v4.new_code_cell(tell))
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(env={**os.environ, **variables})
        return notebook

    return run


@pytest.fixture(scope="session")
def execute_once(
    execute: Callable[..., nbformat.NotebookNode], shared_folder: Path, repository: Path
) -> Callable[..., nbformat.NotebookNode]:
    """Execute a whole notebook, or read what came of it if that was done in this session."""

    def run(name: str, key: str, tell: str = "", **variables: str) -> nbformat.NotebookNode:
        done = shared_folder / f"executed-{key}-{name}"
        with FileLock(f"{done}.lock"):
            if not done.is_file():
                nbformat.write(execute(name, repository, tell, **variables), done)
        return nbformat.read(done, as_version=4)

    return run
