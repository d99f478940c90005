"""`atlas train`, `evaluate` and `baseline`: the same as the scripts at the root of a checkout."""

import sys
from pathlib import Path

import pytest

from attention_atlas import __version__
from tests.commands import run_script

ATLAS = str(Path(sys.executable).with_name("atlas"))
NAMES = ("train", "evaluate", "baseline")
TASKS = ("task=nlp", "task=vision", "task=speech")


def both(name: str, arguments: list[str], folder: Path) -> tuple[str, str, int]:
    """What the command prints, checked to be the same in both forms, without torch."""
    script = run_script([f"{name}.py", *arguments], folder, torch=False)
    command = run_script([ATLAS, name, *arguments], folder, torch=False)
    outcome = script.stdout, script.stderr, script.returncode
    assert (command.stdout, command.stderr, command.returncode) == outcome
    assert list(folder.iterdir()) == []
    return outcome


@pytest.mark.parametrize("name", NAMES)
def test_a_command_alone_prints_its_usage(name: str, tmp_path: Path) -> None:
    printed, errors, code = both(name, [], tmp_path)
    assert (errors, code) == ("", 0)
    assert f"atlas {name} " in printed
    if name != "evaluate":
        assert all(task in printed for task in TASKS)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_atlas_alone_prints_its_usage_with_the_tasks(arguments: list[str], tmp_path: Path) -> None:
    done = run_script([ATLAS, *arguments], tmp_path, torch=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert all(task in done.stdout for task in TASKS)
    assert all(f"\n  {name} " in done.stdout for name in NAMES)


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = run_script([ATLAS, "--version"], tmp_path, torch=False)
    assert (done.stdout, done.returncode) == (f"{__version__}\n", 0)


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("train", ["--help"], "Groups (group=option):"),
        ("evaluate", ["-h"], "Groups (group=option):"),
        ("train", ["task=vision", "encoder.depth=3", "--cfg", "job"], "\n  depth: 3\n"),
        ("train", ["-c", "job", "-p", "optimizer", "optimizer.lr=0.5"], "\nlr: 0.5\n"),
        ("train", ["--cfg=hydra", "-p", "hydra.job"], "\nname: train\n"),
        ("evaluate", ["run=one", "data.path=x", "--cfg", "job"], "\n  path: x\n"),
        ("train", ["-m", "task=nlp,nlpp"], "task=nlpp does not exist. Did you mean nlp?"),
        ("baseline", ["task=speach"], "task=speach does not exist. Did you mean speech?"),
        ("train", ["trainer.max_epochs=-1"], "trainer.max_epochs=-1"),
    ],
)
@pytest.mark.slow
def test_hydra_reads_the_arguments(
    name: str, arguments: list[str], part: str, tmp_path: Path
) -> None:
    printed, errors, code = both(name, arguments, tmp_path)
    assert part in f"\n{printed}{errors}"
    assert code == (2 if errors else 0)
