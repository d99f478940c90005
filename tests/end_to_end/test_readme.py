"""Every command and every line of Python in the README runs."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.commands import run_script
from tests.docs.pages import blocks

FAST = ["debug=fast", "trainer.limit_train_batches=2"]


def commands(readme: Path) -> list[list[str]]:
    lines = "\n".join(blocks(readme, "")).splitlines()
    parsed = [shlex.split(line, comments=True) for line in lines]
    return [command for command in parsed if command]


@pytest.fixture(scope="module")
def workplace(repository, reviews, pictures, sounds, tmp_path_factory) -> Path:
    """A folder that looks like a checkout for the commands that are typed in it."""
    folder = tmp_path_factory.mktemp("workplace")
    own = {"docs", "outputs", ".venv", ".git"}
    for path in repository.iterdir():
        if path.name not in own:
            (folder / path.name).symlink_to(path)
    (folder / "docs").mkdir()
    (folder / "reviews.csv").symlink_to(reviews)
    (folder / "pictures").symlink_to(pictures)
    (folder / "sounds").symlink_to(sounds)
    return folder


def with_newest_run(text: str, workplace: Path) -> str:
    """The text with the newest run folder of a task for outputs/<task>/<time>."""

    def newest(match: re.Match[str]) -> str:
        return str(sorted((workplace / "outputs" / match[1]).iterdir())[-1])

    return re.sub(r"outputs/(\w+)/<time>", newest, text)


def runnable(command: list[str], workplace: Path) -> list[str]:
    """The script and its arguments as typed, on the newest run, few batches and few samples."""
    program, *arguments = command
    filled = [with_newest_run(argument, workplace) for argument in arguments]
    if program == "atlas":
        few = ["--num-samples", "2"] if filled[0] == "faithfulness" else []
        return ["atlas", *filled, *few]
    assert program == "python", command
    if filled[0] == "benchmarks/results.py":
        return [*filled, "--help"]
    return [*filled, *FAST] if filled[0] == "train.py" and "--help" not in filled else filled


@pytest.mark.slow
def test_every_command_and_every_line_of_python_runs(repository: Path, workplace: Path) -> None:
    readme = repository / "README.md"
    found = commands(readme)
    assert len(found) >= 12
    for command in found:
        if command[0] == "make":
            subprocess.run(["make", "--dry-run", *command[1:]], cwd=workplace, check=True)
            continue
        done = run_script(runnable(command, workplace), workplace)
        said = f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        assert "Traceback" not in done.stderr, said

    code = blocks(readme, "python")
    assert len(code) >= 2
    for block in code:
        script = with_newest_run(block, workplace)
        (workplace / "block.py").write_text(script)
        done = run_script([str(workplace / "block.py")], workplace)
        assert done.returncode == 0, f"{script}\n{done.stderr}"
