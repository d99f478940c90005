"""Random values and special files in place of those of a run: no traceback, and no hang."""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from attention_atlas.errors import InputError
from attention_atlas.pipeline.load_run import load_run
from tests.commands import evaluate, invoke_atlas, invoke_script

COMMANDS = [
    ["list", "."],
    ["list", ".", "--json"],
    ["info", "sweep/bad"],
    ["info", "sweep/bad", "--verify"],
    ["show", "sweep/bad"],
    ["stats", "sweep/bad"],
    ["compare", "sweep/bad", "sweep/good"],
    ["sweep", "sweep"],
    ["export", "sweep/bad", "--out", "a.csv"],
]
FILES = [
    "result.json",
    "faithfulness.json",
    "failure.json",
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    "atlas.zarr/zarr.json",
    "atlas.zarr/rank-0/zarr.json",
    "atlas.zarr/rank-0/label/zarr.json",
]
OTHER_FILES = [
    "metrics.csv",
    "tokenizer.json",
    "token_pairs.npy",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "atlas.zarr/rank-0/length/c.0",
]
ODD = [10**400, -1, 1e308, float("nan"), "\x1b]0;x\x07", "a\nerror: forged", "\ud800", {}, []]
values = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@st.composite
def changed(draw: Callable[..., Any], value: Any) -> Any:
    """A value with one of the values in it replaced or removed."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key, copy = draw(st.sampled_from(keys)), value.copy()
        if draw(st.integers(0, 9)):
            copy[key] = draw(changed(copy[key]))
        else:
            del copy[key]
        return copy
    return draw(values)


def special(kind: str, path: Path) -> None:
    """Replace a file."""
    content = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "nested":
        path.write_text("[" * 100_000)
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no room on the disk
    elif kind == "noise":
        path.write_bytes(bytes(range(256)))
    else:
        path.symlink_to({"device": "/dev/zero", "nowhere": "nowhere", "itself": path.name}[kind])


KINDS = ["pipe", "folder", "cut", "nested", "large", "noise", "device", "nowhere", "itself"]
# All kinds for one file of each format, and those that need the most care for every file.
SPECIAL = [(name, kind) for name in ("result.json", ".hydra/config.yaml") for kind in KINDS] + [
    (name, kind) for name in [*FILES, *OTHER_FILES][1:] for kind in ("pipe", "cut", "device")
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, trained_runs: dict[str, Path]) -> Path:
    """A sweep of two good runs, whose faithfulness was measured."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("good", "bad"):
        run = folder / "sweep" / name
        shutil.copytree(trained_runs["nlp"], run)
        (run / ".hydra" / "overrides.yaml").write_text("- seed=1\n")
    (folder / "sweep" / "multirun.yaml").write_text("")
    done = invoke_atlas(folder, "faithfulness", "sweep/bad", "--num-samples", "3", "--steps", "2")
    assert done.exit_code == 0, done.output
    (folder / "sweep" / "bad" / "failure.json").write_text('{"sentence": "x", "time": "2026"}')
    return folder


@pytest.fixture
def here(tmp_path: Path, made: Path) -> Path:
    """A copy of it, in which one run is to be damaged."""
    shutil.copytree(made / "sweep", tmp_path / "sweep")
    return tmp_path


@contextlib.contextmanager
def without_hanging(seconds: int = 60) -> Iterator[None]:
    def end(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_commands(here: Path) -> None:
    for command in COMMANDS:
        with without_hanging():
            done = invoke_atlas(here, *command)
        assert done.exception is None or isinstance(done.exception, SystemExit), command
        allowed = (0, 1, 2) if "--verify" in command else (0, 2)  # 1: it found damage
        assert done.exit_code in allowed, (command, done.output)
        assert "\x1b]" not in done.output
        assert not any(line.startswith("error: forged") for line in done.output.splitlines())
        if command == ["list", "."]:
            lines = done.stdout.splitlines()
            assert done.exit_code == 0
            assert sum("sweep/good" in line for line in lines) == 1
            assert sum("sweep/bad" in line for line in lines) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.generate],  # a smaller example is not worth minutes
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_odd_values_in_a_file_of_a_run(name: str, here: Path, data: st.DataObject) -> None:
    path = here / "sweep" / "bad" / name
    before = path.read_bytes()
    content = yaml.safe_load(before) if path.suffix == ".yaml" else json.loads(before)
    new = data.draw(changed(content))
    text = yaml.safe_dump(new) if path.suffix == ".yaml" else json.dumps(new)
    path.write_bytes(text.encode("utf-8", "replace"))
    try:
        check_commands(here)
    finally:
        path.write_bytes(before)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), dict.fromkeys(SPECIAL))
def test_special_files_in_a_run(name: str, kind: str, here: Path) -> None:
    special(kind, here / "sweep" / "bad" / name)
    check_commands(here)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pipe", "cut", "nested", "device"])
@pytest.mark.parametrize(
    "name",
    [".hydra/config.yaml", "result.json", "tokenizer.json", "token_pairs.npy", "best", "last"],
)
def test_special_files_are_not_loaded(
    name: str, kind: str, here: Path, tiny: dict[str, list[str]]
) -> None:
    """By commands that run the model, and by a resumed training."""
    name = f"checkpoints/{name}.ckpt" if name in ("best", "last") else name
    run = here / "sweep" / "bad"
    special(kind, run / name)
    with without_hanging():
        for use in (lambda: load_run(run, with_data=True), lambda: evaluate(run, here / "out")):
            with contextlib.suppress(InputError):
                use()
        for command in (["predict", "sweep/bad", "a"], ["faithfulness", "sweep/bad"]):
            done = invoke_atlas(here, *command)
            assert done.exit_code in (0, 2), done.output + repr(done.exception)
        command = ["train.py", *tiny["nlp"], "resume=auto", f"hydra.run.dir={run}"]
        resumed = invoke_script(command, here)
    assert resumed.returncode == 2, resumed.stderr
