"""The installed `atlas` command as a process: its streams, its examples, its completion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ATLAS = Path(sys.executable).with_name("atlas")


def atlas(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        [str(ATLAS), *arguments],
        cwd=folder,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_bad_input_has_a_traceback_on_demand_only(runs):
    plain = atlas(runs, "info", "elsewhere")
    assert plain.returncode == 2
    assert plain.stderr.count("\n") == 1
    full = atlas(runs, "info", "elsewhere", HYDRA_FULL_ERROR="1")
    assert full.returncode == 1
    assert "Traceback" in full.stderr


@pytest.mark.slow
def test_every_command_has_an_example_that_is_one(runs):
    listed = atlas(runs, "--help").stdout.split("Commands:")[1].split("\n")
    first, second, third, *names = [line.split()[0] for line in listed if line.strip()]
    assert (first, second, third) == ("train", "evaluate", "baseline")
    assert names == [
        "list", "info", "show", "stats", "predict", "record", "faithfulness", "compare", "sweep",
        "export", "gallery",
    ]  # fmt: skip
    assert "..." not in "".join(listed)
    for name in names:
        words = atlas(runs, name, "--help").stdout
        assert f"Example: atlas {name} " in words
        assert "--json" in words


def test_terminal_without_unicode_is_no_reason_to_stop(runs):
    done = atlas(runs, "show", "outputs/vision/one", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert done.returncode == 0
    show = ("show", "outputs/nlp/one", "5", "--json")
    ascii_only = json.loads(atlas(runs, *show, PYTHONIOENCODING="ascii", PYTHONUTF8="0").stdout)
    assert ascii_only == json.loads(atlas(runs, *show).stdout)


def test_reader_that_goes_away_gets_no_traceback(runs):
    command = f"{ATLAS} show outputs/vision/one | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=runs, capture_output=True, text=True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("atlas exp", ["export"]),
        ("atlas info outputs/v", ["outputs/vision/one"]),
        ("atlas info ou", [f"outputs/{task}/one" for task in ("nlp", "speech", "vision")]),
        ("atlas info ./out", ["./outputs"]),
        ("atlas show outputs/nlp/one nlp-000", [f"nlp-000{number}" for number in range(6)]),
        ("atlas export outputs/nlp/one --format n", ["npz", "netcdf"]),
        ("atlas stats outputs/nlp/one --by l", ["layer"]),
        ("atlas show nothing nlp", []),
    ],
)
def test_completion(runs, typed, offered):
    words = typed.split(" ")
    done = atlas(
        runs,
        _ATLAS_COMPLETE="complete_bash",
        COMP_WORDS=typed,
        COMP_CWORD=str(len(words) - 1),
    )
    assert done.stdout.split() == offered


def test_completion_can_be_installed(runs, tmp_path):
    # The shell is the nearest process above that is one; "exit" keeps bash from becoming atlas.
    done = subprocess.run(
        ["bash", "-c", f"'{ATLAS}' --install-completion; exit $?"],
        cwd=runs,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert any("atlas" in file.name for file in tmp_path.rglob("*"))
