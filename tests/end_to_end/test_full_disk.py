"""A full disk ends every command with one line, and nothing half-written is left on it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from attention_atlas.data.cache import cached
from attention_atlas.errors import InputError
from attention_atlas.output_files import draft
from tests.commands import run_script

MakeDisk = Callable[[int], Path]


def write_tokenizer(path: Path) -> None:
    Tokenizer(WordLevel({str(number): number for number in range(1000)}, "0")).save(str(path))


def write_checkpoint(path: Path) -> None:
    with path.open("wb") as file:
        torch.save(torch.zeros(5000), file)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * 20_000),
    "numpy": lambda path: np.save(path.open("wb"), np.zeros(5000)),
    "torch": write_checkpoint,
    "tokenizers": write_tokenizer,
}


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """Check that a command ended by a full disk, and return what it said."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(" cannot be written: No space left on device.\n")
    assert done.stderr.count("\n") == 1
    return done.stderr


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_every_library_ends_in_the_same_message(
    write: Callable[[Path], object], make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = make_disk(12)
    with (
        pytest.raises(InputError, match=r"a\.bin cannot be written: No space left on device"),
        draft(disk / "a.bin") as unfinished,
    ):
        write(unfinished)
    assert files(disk) == set()
    monkeypatch.setenv("ATTENTION_ATLAS_CACHE", str(disk))
    with pytest.raises(InputError, match=r"words-\w+ cannot be written: No space left on device"):
        cached("words", {}, lambda folder: write(folder / "a.bin"))
    assert files(disk) == set()


@pytest.mark.slow
@pytest.mark.parametrize("kibibytes", [8, 72, 400])
def test_a_training_that_saved_nothing_leaves_nothing(
    kibibytes: int, make_disk: MakeDisk, tiny: dict[str, list[str]], tmp_path: Path
) -> None:
    disk = make_disk(kibibytes)
    command = ["train.py", *tiny["nlp"], "capture=full", f"hydra.run.dir={disk / 'run'}"]
    one_line(run_script(command, tmp_path))
    assert files(disk) == set()


@pytest.mark.slow
@pytest.mark.parametrize(("kibibytes", "saved"), [(800, {"best"}), (1250, {"best", "last"})])
def test_a_training_leaves_its_checkpoints_and_resumes(
    kibibytes: int, saved: set[str], make_disk: MakeDisk, tiny: dict[str, list[str]], tmp_path: Path
) -> None:
    disk = make_disk(kibibytes)
    command = ["train.py", *tiny["nlp"], "capture=full", f"hydra.run.dir={disk / 'run'}"]
    one_line(run_script(command, tmp_path))
    left = files(disk / "run")
    assert {f"checkpoints/{name}.ckpt" for name in saved} <= left
    assert not [name for name in left if "draft" in name or "partial" in name]
    assert not {"result.json", "atlas.zarr"} & left
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    resumed = run_script([*command, "resume=auto"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert (disk / "run" / "result.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("kibibytes", [4, 96, 180])
@pytest.mark.parametrize("command", ["evaluate", "record", "baseline"])
def test_other_commands_leave_nothing(
    command: str,
    kibibytes: int,
    make_disk: MakeDisk,
    trained_runs: dict[str, Path],
    reviews: Path,
    tmp_path: Path,
) -> None:
    disk = make_disk(kibibytes)
    (disk / "fill").write_bytes(bytes(kibibytes * 1024 - 4096) if command == "baseline" else b"")
    run, out = trained_runs["nlp"], disk / "out"
    arguments = {
        "evaluate": [f"run={run}", "capture=full", f"hydra.run.dir={out}"],
        "record": [str(run), "--data", str(reviews), "--out", str(out)],
        "baseline": ["task=nlp", "data=csv", f"data.path={reviews}", f"hydra.run.dir={out}"],
    }
    one_line(run_script(["atlas", command, *arguments[command]], tmp_path))
    assert files(disk) == {"fill"}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["npz", "nc", "html", "csv", "png", "pt"])
def test_an_export_leaves_nothing(
    ending: str, make_disk: MakeDisk, trained_runs: dict[str, Path], tmp_path: Path
) -> None:
    disk = make_disk(8)
    (disk / "fill").write_bytes(bytes(8192 if ending == "pt" else 4096))
    command = ["export", str(trained_runs["nlp"]), "--out", str(disk / f"a.{ending}")]
    assert f"a.{ending}" in one_line(run_script(["atlas", *command], tmp_path))
    assert files(disk) == {"fill"}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["nlp", "vision"])
def test_a_full_cache_leaves_nothing(
    task: str, make_disk: MakeDisk, tiny: dict[str, list[str]], tmp_path: Path
) -> None:
    disk, here = make_disk(4), tmp_path / "here"
    here.mkdir()
    done = run_script(["train.py", *tiny[task]], here, ATTENTION_ATLAS_CACHE=str(disk))
    assert str(disk) in one_line(done)
    assert files(disk) == files(here) == set()
