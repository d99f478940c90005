"""The wheel in an environment of its own, with no repository in sight."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from attention_atlas import __version__
from tests.commands import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]

UV = str(Path(sys.executable).with_name("uv"))
TASKS = ("nlp", "vision", "speech")

Command = Callable[..., str]


def succeed(*command: str | Path, folder: Path = REPOSITORY) -> str:
    """Run a command without what points to this repository, and return what it prints."""
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    cache = {"ATTENTION_ATLAS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=plain | cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(wheel: Path, environment: Path) -> None:
    """Install the wheel and what it needs, from the cache of `make setup` if that has all."""
    arguments = ["pip", "install", "--python", str(environment / "bin" / "python")]
    arguments += ["--constraints", str(REPOSITORY / "requirements.lock"), str(wheel)]
    offline = subprocess.run([UV, *arguments, "--offline"], capture_output=True, check=False)
    if offline.returncode != 0:
        succeed(UV, *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    succeed(UV, "build", "--wheel", "--no-build-isolation", "--out-dir", folder, "--quiet")
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the commands."""
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def atlas(wheel: Path, here: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run `atlas` of an environment that holds the wheel and what it needs."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    succeed(UV, "venv", "--quiet", "--python", sys.executable, environment)
    install(wheel, environment)
    found = succeed(
        environment / "bin" / "python", "-c", "import attention_atlas as a; print(a)", folder=here
    )
    assert str(environment) in found
    return lambda *arguments: succeed(environment / "bin" / "atlas", *arguments, folder=here)


def test_the_wheel_holds_all_configs_but_those_of_this_checkout(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {
        f"attention_atlas/{path.relative_to(REPOSITORY)}"
        for path in (REPOSITORY / "conf").rglob("*.yaml")
        if path.parent.name != "local"
    }
    assert {name for name in names if name.endswith(".yaml")} == configs
    assert "attention_atlas/py.typed" in names


def test_the_version_is_that_of_the_wheel(atlas: Command, wheel: Path) -> None:
    assert atlas("--version") == f"{__version__}\n"
    assert f"-{__version__}-" in wheel.name


@pytest.mark.parametrize("task", TASKS)
def test_each_task_trains(atlas: Command, here: Path, task: str) -> None:
    printed = atlas("train", f"task={task}", "debug=fast")
    (run,) = (here / "outputs" / task).iterdir()
    assert f"atlas evaluate run={run}" in printed
    assert (run / "atlas.zarr").is_dir()
    assert (run / "train.log").is_file()

    assert "evaluations" in atlas("evaluate", f"run=last:{task}", "trainer.limit_test_batches=1")
    assert f"outputs/{task}/" in atlas("list")
    assert "readout" in atlas("show", f"last:{task}")


def test_a_run_of_two_processes_and_a_sweep_need_no_repository(atlas: Command, here: Path) -> None:
    short = ["task=vision", "debug=fast", "capture=off"]
    atlas("train", *short, "trainer=ddp_cpu", "trainer.devices=2", "hydra.run.dir=two")
    assert (here / "two" / "result.json").is_file()
    atlas("train", "-m", *short, "seed=0,1", "hydra.sweep.dir=sweep")
    assert len(list(here.glob("sweep/*/result.json"))) == 2


def test_a_baseline_is_measured(atlas: Command, here: Path) -> None:
    assert "RBF SVM" in atlas("baseline", "task=vision")
    assert len(list(here.glob("outputs/baselines/vision/*/baseline.json"))) == 1
