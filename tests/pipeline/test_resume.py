"""A run that is killed, ended or cut off goes on, and ends as if nothing had happened."""

import csv
import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from attention_atlas.atlas import open_atlas
from attention_atlas.pipeline.runs.checkpoints import is_whole, latest_checkpoint
from attention_atlas.pipeline.runs.folder import find_unfinished_run, locked
from tests.commands import run_script, start_command, start_training
from tests.pipeline.conftest import weights

EPOCHS = 40


@pytest.fixture(scope="module")
def command(tiny) -> list[str]:
    """A training of some seconds with all that draws random numbers."""
    overrides = [word for word in tiny["vision"] if not word.startswith("trainer.max_epochs")]
    noise = ["augmentation=image", "encoder.dropout=0.2", "trainer.log_every_n_steps=1"]
    return [*overrides, *noise, f"trainer.max_epochs={EPOCHS}", "resume=auto"]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory) -> tuple[Path, float]:
    """The run of this command that nothing happened to, and how many seconds it took."""
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    done = run_script(["train.py", *command, f"hydra.run.dir={folder / 'run'}"], folder)
    assert done.returncode == 0, done.stderr
    return folder / "run", time.monotonic() - began


def result(run: Path) -> dict[str, object]:
    content = json.loads((run / "result.json").read_text())
    return {name: content[name] for name in content if name.startswith(("test/", "val/"))}


def logged(run: Path) -> dict[tuple[str, str], str]:
    """Every value of metrics.csv by its name and step."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    values = {}
    for row in rows:
        for name, value in row.items():
            if value and name not in ("step", "epoch"):
                assert (name, row["step"]) not in values, f"{name} of step {row['step']} twice"
                values[name, row["step"]] = value
    return values


def is_as_if_nothing_had_happened(run: Path, whole: Path) -> None:
    assert result(run) == result(whole)
    for name, value in weights(whole).items():
        assert torch.equal(weights(run)[name], value), name


def finish(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = run_script(["train.py", *command], folder)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(4))
def test_a_run_killed_at_any_moment_resumes(kill, command, whole, tmp_path: Path) -> None:
    run, seconds = tmp_path / "run", whole[1]
    there = [*command, f"hydra.run.dir={run}"]
    process = start_command(["train.py", *there], tmp_path)
    time.sleep(random.Random(kill).uniform(0.3, 1.0) * seconds)
    process.kill()
    process.communicate(timeout=60)
    killed_in_time = process.returncode == -signal.SIGKILL
    assert killed_in_time or (run / "result.json").is_file()
    finish(there, tmp_path)
    is_as_if_nothing_had_happened(run, whole[0])


@pytest.mark.slow
def test_the_same_command_finds_its_run_by_itself(command, whole, tmp_path: Path) -> None:
    process = start_command(["train.py", *command], tmp_path)
    assert process.stdout is not None
    assert any(line.startswith("epoch 5/") for line in process.stdout)
    process.kill()
    process.communicate(timeout=60)
    other = run_script(["train.py", *command, "seed=1", "trainer.max_epochs=1"], tmp_path)
    assert other.returncode == 0, other.stderr
    assert finish(command, tmp_path).stderr == ""
    killed, of_another_seed = sorted((tmp_path / "outputs" / "vision").iterdir())
    is_as_if_nothing_had_happened(killed, whole[0])
    assert logged(killed) == logged(whole[0])
    assert result(of_another_seed) != result(killed)


@pytest.mark.slow
def test_the_recorded_epochs_are_resumed_too(command, whole, tmp_path: Path) -> None:
    recorded = ["capture.every_n_epochs=4", "capture.num_samples=3"]
    run = tmp_path / "run"
    there = [*command, *recorded, f"hydra.run.dir={run}"]
    process = start_command(["train.py", *there], tmp_path)
    assert process.stdout is not None
    assert any(line.startswith("epoch 10/") for line in process.stdout)
    process.kill()
    process.communicate(timeout=60)
    finish(there, tmp_path)
    is_as_if_nothing_had_happened(run, whole[0])
    atlas = open_atlas(run)
    *recorded_epochs, tested = atlas.epochs
    assert recorded_epochs == list(range(3, tested, 4))
    assert tested > 12
    assert {len(list(atlas.samples(epoch))) for epoch in recorded_epochs} == {3}


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(command, whole, tmp_path: Path) -> None:
    run = whole[0]
    before = {path: path.stat().st_mtime_ns for path in run.glob("*.json")}
    done = finish([*command, f"hydra.run.dir={run}"], tmp_path)
    assert "is finished already" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in run.glob("*.json")}
    other = run_script(["train.py", *command, "seed=3", f"hydra.run.dir={run}"], tmp_path)
    assert other.returncode == 2
    assert "holds a run of another config" in other.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGUSR1, 138, "ended by SIGUSR1"),
        (signal.SIGUSR2, 140, "ended by SIGUSR2"),  # of submitit
        (signal.SIGINT, 130, "ended by SIGINT"),
    ],
)
def test_a_signal_saves_and_ends(number, code, words, command, whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    there = [*command, f"hydra.run.dir={run}"]
    process = start_command(["train.py", *there], tmp_path)
    assert process.stdout is not None
    assert any(line.startswith("epoch 3/") for line in process.stdout)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.splitlines()[-1].startswith(words)
    assert "resume=auto" in errors
    assert "Traceback" not in errors
    assert is_whole(run / "checkpoints" / "last.ckpt")
    finish(there, tmp_path)
    is_as_if_nothing_had_happened(run, whole[0])


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once(tiny, tmp_path: Path) -> None:
    process = start_training([*tiny["vision"], "data.batch_size=64"], tmp_path, epoch=2)
    process.send_signal(signal.SIGSTOP)  # both are there before the step ends
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "ended by SIGINT" not in errors
    assert errors.splitlines()[-1].startswith("interrupted; ")


@pytest.mark.parametrize("damage", ["cut off", "changed inside", "empty"])
def test_a_damaged_checkpoint_is_not_the_latest(damage, trained_runs, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    content = (trained_runs["vision"] / "checkpoints" / "last.ckpt").read_bytes()
    (folder / "before-last.ckpt").write_bytes(content)
    (folder / "last.ckpt").write_bytes(damaged(content, damage))
    assert latest_checkpoint(tmp_path) == folder / "before-last.ckpt"


def damaged(content: bytes, damage: str) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 2] ^= 255
    return {"cut off": content[:-200], "changed inside": bytes(changed), "empty": b""}[damage]


@pytest.mark.slow
def test_a_damaged_checkpoint_gives_way_to_the_one_before(command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start_training([*command, "capture=off"], tmp_path, epoch=4)
    process.kill()
    process.communicate(timeout=60)
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(damaged(last.read_bytes(), "changed inside"))
    there = [*command, "capture=off", "trainer.max_epochs=100000", f"hydra.run.dir={run}"]
    again = start_command(["train.py", *there], tmp_path)
    assert again.stdout is not None
    first = next(line for line in again.stdout if line.startswith("epoch"))
    again.kill()
    _, errors = again.communicate(timeout=60)
    assert int(first.split("/")[0].removeprefix("epoch ")) > 1
    assert "last.ckpt is damaged; the checkpoint before it is used" in errors


@pytest.fixture(scope="module")
def many_pictures(pictures: Path, tmp_path_factory) -> Path:
    """So many that a test of each by itself, with its maps, takes a while."""
    folder = tmp_path_factory.mktemp("many")
    for label in ("left", "right"):
        (folder / label).mkdir()
        for copy in range(30):
            for picture in (pictures / label).glob("*.png"):
                (folder / label / f"{copy}-{picture.name}").symlink_to(picture)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "ranks"),
    [(signal.SIGTERM, []), (signal.SIGINT, ["trainer=ddp_cpu", "trainer.devices=2"])],
    ids=["one", "two"],
)
def test_a_test_that_is_ended_says_so(number, ranks, tiny, many_pictures, tmp_path: Path) -> None:
    long = [f"data.path={many_pictures}", "+data.eval_batch_size=1", "capture=full"]
    short = ["+trainer.limit_train_batches=4", "+trainer.limit_val_batches=4"]
    run = tmp_path / "run"
    command = ["train.py", *tiny["vision"], *long, *short, *ranks, f"hydra.run.dir={run}"]
    process = start_command(command, tmp_path)
    assert process.stdout is not None
    assert any(line.startswith("epoch 2/2") for line in process.stdout)
    while not (run / "atlas.zarr").is_dir():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "ended by " in errors
    assert "resume=auto" in errors
    assert "Traceback" not in errors
    assert not (run / "result.json").is_file()


@pytest.mark.slow
def test_a_run_does_not_resume_with_other_data(tiny, pictures: Path, tmp_path: Path) -> None:
    own = tmp_path / "pictures"
    shutil.copytree(pictures, own)
    there = [*tiny["vision"], f"data.path={own}", "resume=auto"]
    process = start_training(there, tmp_path, epoch=2)
    process.kill()
    process.communicate(timeout=60)
    for picture in sorted((own / "left").iterdir())[:20]:
        picture.unlink()
    endless = ["trainer.max_epochs=100000", f"hydra.run.dir={tmp_path / 'run'}"]
    done = run_script(["train.py", *there, *endless], tmp_path)
    assert done.returncode == 2
    assert "The data has changed since" in done.stderr


def test_two_processes_never_write_one_run(command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with locked(run):
        done = run_script(["train.py", *command, f"hydra.run.dir={run}"], tmp_path)
    assert done.returncode == 2
    assert "Another process is writing" in done.stderr


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_ends_in_a_one_line_error(tiny, tmp_path: Path) -> None:
    arguments = ["train.py", *tiny["vision"], "optimizer=sgd", "optimizer.lr=1e30"]
    done = run_script([*arguments, "trainer.gradient_clip_val=null"], tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: The loss became nan at step ")
    assert "at a learning rate of " in line
    assert "optimizer.lr" in line
    assert not list(tmp_path.rglob("*.ckpt"))


LIMITED = """
import resource, runpy, sys
import attention_atlas.pipeline.train
import pathlib
used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_out_of_memory_says_what_to_lower(tiny, repository: Path, tmp_path: Path) -> None:
    limited = tmp_path / "limited.py"
    limited.write_text(LIMITED)
    train = [str(repository / "train.py"), *tiny["vision"], "encoder.embed_dim=16384"]
    done = run_script([str(limited), *train], tmp_path)
    assert done.returncode == 2, done.stderr
    assert "out of memory" in done.stderr.lower()
    assert "data.batch_size" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_option_that_is_null_and_one_that_is_missing_are_the_same_run(tmp_path: Path) -> None:
    (tmp_path / "first" / ".hydra").mkdir(parents=True)
    earlier = {"data": {"name": "csv", "path": "a.csv"}, "resume": "auto"}
    OmegaConf.save(OmegaConf.create(earlier), tmp_path / "first" / ".hydra" / "config.yaml")
    for group, found in ((None, tmp_path / "first"), ("who", None)):
        config = OmegaConf.create(earlier | {"data": earlier["data"] | {"group": group}})
        assert find_unfinished_run(tmp_path / "second", config, beside=True) == found
