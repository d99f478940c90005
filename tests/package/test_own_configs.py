"""Configs of a user in a folder of their own: found, and checked as those of the package."""

import re
from pathlib import Path

import pytest

from tests.commands import run_script

CONFIG = """
defaults:
  - csv
path: {path}
num_workers: {workers}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    return tmp_path / "mine"


def write(folder: Path, reviews: Path, workers: int) -> None:
    (folder / "data" / "mine.yaml").write_text(CONFIG.format(path=reviews, workers=workers))


def ways(folder: Path) -> list[list[str]]:
    return [["--config-dir", "../mine"], [f"hydra.searchpath=[file://{folder}]"]]


@pytest.mark.parametrize("way", [0, 1], ids=["config-dir", "searchpath"])
@pytest.mark.slow
def test_a_config_of_ones_own_is_taken_and_checked(
    folder: Path, reviews: Path, tmp_path: Path, way: int
) -> None:
    command = ["train.py", *ways(folder)[way], "task=nlp", "data=mine"]
    write(folder, reviews, workers=0)
    shown = run_script([*command, "--cfg", "job", "-p", "data.path"], tmp_path / "here")
    assert str(reviews) in shown.stdout, shown.stderr
    write(folder, reviews, workers=-1)
    done = run_script(command, tmp_path / "here", torch=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: data.num_workers=-1")
    unknown = run_script([*command[:-1], "data=mien"], tmp_path / "here", torch=False)
    assert "data=mien does not exist. Did you mean mine?" in unknown.stderr
    if way == 0:
        listed = run_script([*command[:3], "--help"], tmp_path / "here", torch=False).stdout
        assert "imdb_reviews, mine, mnist" in listed
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\npath: [reviews.csv\n", r"mine/data/mine\.yaml, line 3: expected ',' or '\]'"),
        ("defaults:\n  - cvs\n", "data=cvs does not exist. Did you mean csv?"),
    ],
    ids=["YAML", "defaults"],
)
def test_a_mistake_in_a_config_of_ones_own_is_named(
    content: str, message: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "data" / "mine.yaml").write_text(content)
    command = ["train.py", *ways(folder)[0], "task=nlp", "data=mine"]
    done = run_script(command, tmp_path / "here", torch=False)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("way", [0, 1], ids=["config-dir", "searchpath"])
def test_a_run_and_a_sweep_train_with_a_config_of_ones_own(
    folder: Path, reviews: Path, tiny: dict[str, list[str]], tmp_path: Path, way: int
) -> None:
    write(folder, reviews, workers=0)
    sizes = [each for each in tiny["nlp"] if each.startswith(("encoder.", "trainer."))]
    command = ["train.py", "-m", *ways(folder)[way], "task=nlp", "data=mine", "capture=off", *sizes]
    done = run_script([*command, "seed=0,1"], tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "here").glob("outputs/sweeps/*/*/result.json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--config-dir", "gone"], "error: --config-dir gone is not possible"),
        (["--config-path", "mine"], "error: --config-path replaces all configs"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    arguments: list[str], part: str, tmp_path: Path
) -> None:
    done = run_script(["train.py", *arguments, "task=nlp"], tmp_path, torch=False)
    assert done.returncode == 2
    assert part in done.stderr
