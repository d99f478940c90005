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

pytestmark = pytest.mark.slow

UV = str(Path(sys.executable).with_name("uv"))
TASKS = ("nlp", "vision", "speech")

EXTRAS = [
    ("sweep", ["-m", "hydra/sweeper=tpe", "optimizer.lr=interval(1e-4,1e-2)"]),
    ("joblib", ["-m", "hydra/launcher=joblib", "seed=0,1"]),
    ("submitit", ["-m", "hydra/launcher=slurm", "seed=0,1"]),
    ("tensorboard", ["logger=tensorboard"]),
    ("wandb", ["logger=wandb"]),
    ("mlflow", ["logger=mlflow"]),
    ("pretrained", ["encoder=minilm"]),
    ("datasets", ["data=sst2"]),
]

Command = Callable[..., str]


def run(*command: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command without what points to this repository.

    Byte code is written, whatever this machine does: else each command compiles torch again.
    """
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    plain = {k: v for k, v in os.environ.items() if k not in left_out}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=plain | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",  # whatever locale another test has left in this process
        check=False,
    )


def succeed(*command: str | Path, folder: Path = REPOSITORY) -> str:
    """Run a command that must succeed, and return what it prints."""
    done = run(*command, folder=folder)
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
def program(wheel: Path, here: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`atlas` in an environment that holds the wheel and what it needs."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    succeed(UV, "venv", "--quiet", "--python", sys.executable, environment)
    install(wheel, environment)
    python = environment / "bin" / "python"
    found = succeed(python, "-c", "import attention_atlas as a; print(a)", folder=here)
    assert str(environment) in found
    return python.with_name("atlas")


@pytest.fixture(scope="module")
def atlas(program: Path, here: Path) -> Command:
    """Run an `atlas` command that must succeed, and give what it prints."""
    return lambda *arguments: succeed(program, *arguments, folder=here)


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
    (folder,) = (here / "outputs" / task).iterdir()
    assert f"atlas evaluate run={folder}" in printed
    assert (folder / "atlas.zarr").is_dir()
    assert (folder / "train.log").is_file()

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


@pytest.mark.parametrize(("extra", "arguments"), EXTRAS)
def test_what_is_not_installed_is_named_with_the_command_that_installs_it(
    program: Path, here: Path, extra: str, arguments: list[str]
) -> None:
    done = run(program, "train", *arguments, folder=here)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f'pip install "attention-atlas[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_format_of_sound_that_needs_an_extra_is_named(
    program: Path, here: Path, sounds: Path
) -> None:
    for label in ("low", "high"):
        (here / "recordings" / label).mkdir(parents=True)
        for file in sorted((sounds / label).iterdir()):
            (here / "recordings" / label / f"{file.stem}.m4a").write_bytes(file.read_bytes()[:64])
    arguments = ["task=speech", "data=audio_folder", "data.path=recordings"]
    done = run(program, "train", *arguments, folder=here)
    assert done.returncode == 2, done.stdout + done.stderr
    assert 'pip install "attention-atlas[audio]"' in done.stderr
