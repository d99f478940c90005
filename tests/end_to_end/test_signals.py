"""Ctrl-C, SIGTERM and a closed terminal: one line, the exit code of shells, saved or nothing."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import REPOSITORY, start_training

ATLAS = "from attention_atlas.cli import main; main()"
SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "ended by SIGTERM", "SIGHUP": "ended by SIGHUP"}

pytestmark = pytest.mark.slow


def wait_for_handlers(process: "subprocess.Popen[str]") -> None:
    """Wait until Python has started, and the first import of a command is done."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        time.sleep(1)
    deadline, bit = time.monotonic() + 60, 1 << (signal.SIGTERM - 1)
    while status.exists() and time.monotonic() < deadline:
        caught = next(line for line in status.read_text().splitlines() if "SigCgt" in line)
        if int(caught.split()[1], 16) & bit:
            return
        time.sleep(0.001)


def heed_signals() -> None:
    """Undo that a shell starts background jobs with ctrl-C ignored, and nohup with SIGHUP."""
    for name in SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def run_and_signal(
    command: list[str], folder: Path, name: str, delays: list[float]
) -> tuple[int, str]:
    """Start a command, send a signal after each of the delays, and return its code and errors."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"ATTENTION_ATLAS_CACHE": str(folder / "cache")},
        preexec_fn=heed_signals,
    )
    wait_for_handlers(process)
    for delay in delays:
        time.sleep(delay)
        process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def half_written(folder: Path) -> list[str]:
    """Files in a folder, but for complete ones of the cache."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not (folder / "cache" / path.relative_to(folder).parts[1]).is_dir()
    ] + [str(path) for path in folder.rglob("*.draft*")]


@pytest.fixture
def commands(
    tiny: dict[str, list[str]], trained_runs: dict[str, Path], reviews: Path
) -> dict[str, list[str]]:
    """Arguments of Python for commands that read or write."""
    run, folder = str(trained_runs["nlp"]), "hydra.run.dir=out"
    train = [*tiny["nlp"], folder, "trainer.max_epochs=1000"]
    return {
        "train": ["-c", ATLAS, "train", *train],
        "evaluate": ["-c", ATLAS, "evaluate", f"run={run}", folder],
        "record": ["-c", ATLAS, "record", run, "--data", str(reviews), "--out", "out"],
        "list": ["-c", ATLAS, "list", str(trained_runs["nlp"].parent)],
    }


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("command", ["train", "evaluate", "record", "list"])
def test_a_signal_at_any_moment_leaves_nothing(
    command: str, name: str, commands: dict[str, list[str]], tmp_path: Path
) -> None:
    arguments = commands[command]
    # `list` is over before the later ones; a training that has saved is another test.
    for delay in (0.1, 0.4) if command == "list" else (0, 0.3, 1, 2):
        code, errors = run_and_signal(arguments, tmp_path, name, [delay])
        if command == "list" and code in (0, -getattr(signal, name)):
            continue  # over, or already leaving
        assert (code, errors) == (128 + getattr(signal, name), f"{SIGNALS[name]}\n"), delay
        assert half_written(tmp_path) == [], delay


@pytest.mark.parametrize("gap", [0, 0.1, 1.2])
@pytest.mark.parametrize("command", ["train", "record"])
def test_ctrl_c_twice_is_as_quiet(
    command: str, gap: float, commands: dict[str, list[str]], tmp_path: Path
) -> None:
    for delay in (0.3, 1.5, 2.5):
        delays = [delay, gap]
        code, errors = run_and_signal(commands[command], tmp_path, "SIGINT", delays)
        assert (code, errors) == (130, "interrupted\n"), delay
        assert half_written(tmp_path) == [], delay


def test_a_closed_terminal_saves_a_training(tiny: dict[str, list[str]], tmp_path: Path) -> None:
    """Progress is drawn until the terminal is gone, and no output can be written from then on."""
    run = tmp_path / "run"
    arguments = [*tiny["vision"], f"hydra.run.dir={run}", "trainer.max_epochs=100000"]
    process, terminal = pty.fork()
    if process == 0:
        heed_signals()
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, str(REPOSITORY / "train.py"), *arguments])
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").is_file() and time.monotonic() < deadline:
        os.read(terminal, 10_000)
    before = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns > before
    assert not (run / "result.json").exists()


def test_nohup_lets_a_training_outlive_its_terminal(
    tiny: dict[str, list[str]], tmp_path: Path
) -> None:
    process = start_training(
        tiny["vision"],
        tmp_path,
        epoch=2,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None
    assert next(process.stdout).startswith("epoch 3/")
    process.kill()
    process.communicate()
