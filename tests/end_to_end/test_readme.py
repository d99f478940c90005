"""Every command and every line of Python in the README runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

FAST = ["debug=fast", "trainer.limit_train_batches=2"]


def blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def commands(repository: Path) -> list[list[str]]:
    lines = "\n".join(blocks(repository, "")).splitlines()
    parsed = [shlex.split(line, comments=True) for line in lines]
    return [command for command in parsed if command]


@pytest.fixture(scope="module")
def workplace(repository, reviews, pictures, sounds, tmp_path_factory) -> Path:
    """A folder that looks like a checkout to whoever types commands in it."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("train.py", "evaluate.py", "baseline.py", "conf", "Makefile", "benchmarks"):
        (folder / name).symlink_to(repository / name)
    (folder / "docs").mkdir()
    (folder / "reviews.csv").symlink_to(reviews)
    (folder / "pictures").symlink_to(pictures)
    (folder / "sounds").symlink_to(sounds)
    return folder


def runnable(command: list[str], workplace: Path) -> list[str]:
    """The command as typed, with the newest run for <time>, and trained on a few batches only."""
    program, *arguments = command
    filled = []
    for argument in arguments:
        task = re.search(r"outputs/(\w+)/<time>", argument)
        if task:
            newest = sorted((workplace / "outputs" / task[1]).iterdir())[-1].name
            argument = argument.replace("<time>", newest)
        filled.append(argument)
    if program == "make":
        return ["make", "--dry-run", *filled]
    if program == "atlas":
        return [str(Path(sys.executable).with_name("atlas")), *filled]
    assert program == "python", command
    if filled[0] == "benchmarks/results.py":
        return [sys.executable, *filled, "--help"]
    extra = FAST if filled[0] == "train.py" and "--help" not in filled else []
    return [sys.executable, *filled, *extra]


@pytest.mark.slow
def test_every_command_runs(repository: Path, workplace: Path) -> None:
    found = commands(repository)
    assert len(found) >= 12
    for command in found:
        done = subprocess.run(
            runnable(command, workplace), cwd=workplace, capture_output=True, text=True
        )
        said = f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        assert "Traceback" not in done.stderr, said


def test_every_line_of_python_runs(repository: Path, tmp_path: Path) -> None:
    found = blocks(repository, "python")
    assert found
    for code in found:
        if "open_atlas" not in code:  # that one needs a run: see test_atlas_lines
            exec(compile(code, "README.md", "exec"), {})


def test_all_links_lead_somewhere(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (repository / target).exists(), target
