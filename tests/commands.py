"""Run the commands of this repository as a user does: real processes, in a folder of their own."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fork_server import ForkServer

if TYPE_CHECKING:
    from click.testing import Result

REPOSITORY = Path(__file__).resolve().parents[1]

PROGRAMS = {"atlas": Path(sys.executable).with_name("atlas")}

REFUSE_TORCH = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "torchvision", "torchaudio"):
            raise RuntimeError(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
"""


def run_script(
    arguments: list[str],
    folder: Path,
    torch: bool = True,
    forked: bool = True,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in `folder`.

    `atlas` and the scripts of the repository are given by their names. Without `torch`, importing
    it is an error. A script that starts workers which import it again cannot be `forked`.
    """
    first, *rest = arguments
    script = PROGRAMS.get(first, REPOSITORY / first)
    if not script.is_file():
        script = Path(first)
    settings = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    settings.pop("HYDRA_FULL_ERROR", None)
    if forked and torch and not environment and script.is_file():
        return fork_server().run([str(script), *rest], folder, settings)
    settings |= environment
    if not torch:
        hook = folder.parent / f"{folder.name}-hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(REFUSE_TORCH)
        settings["PYTHONPATH"] = str(hook)
    return subprocess.run(
        [sys.executable, str(script), *rest],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        timeout=600,
    )


@cache
def fork_server() -> ForkServer:
    """The server of this process, which starts with the first command."""
    return ForkServer()


def invoke_atlas(folder: Path, *arguments: str, **environment: str) -> "Result":
    """Run the `atlas` command in this process, in `folder`: much faster where it needs torch."""
    from typer.testing import CliRunner

    from attention_atlas.cli.app import app

    with contextlib.chdir(folder):
        return CliRunner().invoke(app, arguments, env=environment)


def invoke_script(
    arguments: list[str], folder: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a script of the repository in this process, in `folder`, up to where its job begins.

    It composes and checks the config as `run_script` does, in a fraction of the time. A config that
    is accepted ends in an ImportError, since the module of the job cannot be imported here.
    """
    script, *rest = arguments
    path = REPOSITORY / script
    out, errors = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(path), *rest])
        for name, value in environment.items():
            patch.setenv(name, value)
        for job in ("train", "evaluate", "baseline"):
            patch.setitem(sys.modules, f"attention_atlas.pipeline.{job}", None)
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def evaluate(run: Path, folder: Path, *overrides: str) -> dict[str, Any]:
    """Do what evaluate.py does in this process, and give what result.json of `folder` holds."""
    from attention_atlas.config.compose import (
        compose_config,
        config_folder,
        group_choices,
        without_hydra,
    )
    from attention_atlas.pipeline.evaluate import evaluate_run
    from attention_atlas.pipeline.evaluation_config import check_evaluation

    with config_folder(REPOSITORY / "conf"):
        config = compose_config("evaluate", [f"run={run}", *overrides])
        choices = group_choices(config)
    config = without_hydra(config)
    check_evaluation(config, choices)
    folder.mkdir(exist_ok=True)
    return evaluate_run(config, folder, choices)


def start_command(
    arguments: list[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> "subprocess.Popen[str]":
    """Start a script of the repository in `folder`, and give the process."""
    script, *rest = arguments
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / script), *rest],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        | dict(environment or {}),
        **options,
    )


def start_training(
    overrides: list[str], folder: Path, epoch: int, **options: Any
) -> "subprocess.Popen[str]":
    """Start a training that never ends in `folder`/run, and give it once an epoch is done."""
    endless = ["trainer.max_epochs=100000", f"hydra.run.dir={folder / 'run'}"]
    process = start_command(["train.py", *overrides, *endless], folder, **options)
    assert process.stdout is not None
    assert any(line.startswith(f"epoch {epoch}/") for line in process.stdout)
    return process


def content(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below a folder, with the size and the time of change of files."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        if path.is_file()
        else (0, 0)
        for path in sorted(folder.rglob("*"))
    }
