"""Runs to look at, and the command in this process."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from attention_atlas.cli.app import app
from tests import made_atlases

TASKS = ("nlp", "vision", "speech")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with outputs/<task>/one for each task; read it only."""
    folder = tmp_path_factory.mktemp("cli")
    for task in TASKS:
        run = made_atlases.write(folder / "outputs" / task / "one", task)
        (run / "result.json").write_text(json.dumps({"test/accuracy": 0.875}))
    return folder


@pytest.fixture
def command(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `atlas` with these arguments in the directory of the runs, its output in no terminal.

    `columns` is the width of a terminal.
    """
    monkeypatch.chdir(runs)
    for name in ("FORCE_COLOR", "COLUMNS", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, columns: int | None = None) -> Result:
        environment = None if columns is None else {"COLUMNS": str(columns)}
        return CliRunner().invoke(
            app,
            [str(each) for each in arguments],
            env=environment,
        )

    return run


@pytest.fixture
def printed(command: Callable[..., Result]) -> Callable[..., str]:
    """The same for what must succeed: what it prints."""

    def run(*arguments: object, columns: int | None = None) -> str:
        done = command(*arguments, columns=columns)
        assert done.exit_code == 0, done.output + repr(done.exception)
        assert done.stderr == ""
        return done.stdout

    return run


@pytest.fixture
def refused(command: Callable[..., Result]) -> Callable[..., str]:
    """The same for bad input: the one sentence that it says."""

    def run(*arguments: object) -> str:
        done = command(*arguments)
        assert done.exit_code == 2, done.output + repr(done.exception)
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    return run
