"""Two processes give what one gives: the same weights, metrics and atlas, in one run folder."""

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from attention_atlas.atlas import open_atlas
from attention_atlas.pipeline.checks import num_processes
from tests.commands import run_script, start_training

PLAIN = [  # no noise, and an optimizer that does not amplify that of rounding
    "encoder.embed_dim=16",
    "encoder.num_heads=2",
    "encoder.depth=1",
    "encoder.dropout=0",
    "embedding.dropout=0",
    "embedding.stem=linear",  # batch norm takes its statistics of what a process sees
    "augmentation=none",
    "optimizer=sgd",
    "callbacks.ema=null",
    "trainer.max_epochs=2",
    "capture=full",
]


def overrides(task: str, tiny: dict[str, list[str]]) -> list[str]:
    more = ["embedding.num_pairs=0", "+data.word_dropout=0"] if task == "nlp" else []
    return [*(word for word in tiny[task] if not word.startswith("data.batch_size")), *PLAIN, *more]


RATES = ["0.1", "0.01"]
RUNS = {
    "one": ["data.batch_size=16", "trainer=cpu"],
    "two": ["data.batch_size=8", "trainer=ddp_cpu", "trainer.devices=2"],
    "sharded": [
        *("data.batch_size=8", "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2"),
        *("trainer.precision=32-true", "trainer.sync_batchnorm=false"),
    ],
}


@pytest.fixture(scope="module")
def both(tiny, tmp_path_factory) -> dict[str, tuple[Path, subprocess.CompletedProcess[str]]]:
    """The same sweep of two jobs: by one process each, by two, and by two that share weights."""
    folder = tmp_path_factory.mktemp("ranks")
    done = {}
    for name, chosen in RUNS.items():
        arguments = ["train.py", "-m", *overrides("vision", tiny), *chosen]
        swept = [f"optimizer.lr={','.join(RATES)}", f"hydra.sweep.dir={folder / name}"]
        done[name] = folder / name, run_script([*arguments, *swept], folder)
        assert done[name][1].returncode == 0, done[name][1].stderr
    return done


@pytest.fixture(params=RATES)
def rate(request: pytest.FixtureRequest) -> str:
    return f"optimizer.lr-{request.param}"


@pytest.fixture(params=["two", "sharded"])
def job(request: pytest.FixtureRequest, rate, both) -> tuple[Path, Path]:
    """The run folders of one job, by one process and by two."""
    return both["one"][0] / rate, both[request.param][0] / rate


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_the_weights_are_those_of_one_process(job, both) -> None:
    one, two = (weights(run) for run in job)
    assert one.keys() == two.keys()
    for name, values in one.items():
        torch.testing.assert_close(two[name], values, rtol=0, atol=1e-6, msg=name)
    (other,) = (weights(run) for run in both["one"][0].glob("optimizer*") if run != job[0])
    assert not torch.allclose(other["model.head.weight"], one["model.head.weight"], atol=1e-3)


def test_metrics_count_every_sample_once(job) -> None:
    one, two = (json.loads((run / "result.json").read_text()) for run in job)
    assert np.sum(two["test/confusion_matrix"]) == two["num_test_samples"]
    for name in (name for name in one if name.startswith(("test/", "val/"))):
        np.testing.assert_allclose(two[name], one[name], atol=1e-6, err_msg=name)


def test_the_atlas_holds_every_sample_once(job) -> None:
    one, two = (open_atlas(run) for run in job)
    assert len(two) == len(one)
    assert two.num_repeated == 0
    assert set(two.sample_ids) == set(one.sample_ids)
    for sample in one:
        np.testing.assert_allclose(two.sample(sample.sample_id).maps, sample.maps, atol=1e-3)


@pytest.mark.parametrize("ranks", ["two", "sharded"])
def test_one_folder_and_log_for_each_job_and_nothing_twice(ranks, both) -> None:
    sweep, done = both[ranks]
    runs = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert [run.name for run in runs] == ["optimizer.lr-0.01", "optimizer.lr-0.1"]
    for run in runs:
        assert [path.name for path in run.glob("*.log")] == ["train.log"]
    assert done.stdout.count("epoch 1/2") == 2
    assert done.stdout.count("run folder:") == 2
    assert done.stderr == ""


@pytest.mark.parametrize("ranks", ["two", "sharded"])
def test_one_process_evaluates_what_two_have_trained(ranks, both) -> None:
    run = both[ranks][0] / "optimizer.lr-0.1"
    done = run_script(["evaluate.py", f"run={run}"], run.parent)
    assert done.returncode == 0, done.stderr
    (result,) = run.glob("evaluations/*/result.json")
    trained, evaluated = (json.loads(path.read_text()) for path in (run / "result.json", result))
    for name in (name for name in trained if name.startswith("test/")):
        np.testing.assert_allclose(evaluated[name], trained[name], atol=1e-6, err_msg=name)


def start(tiny, folder: Path) -> tuple["subprocess.Popen[str]", int]:
    """A long training by two processes, and the number of the second one."""
    process = start_training([*overrides("vision", tiny), *RUNS["two"]], folder, epoch=2)
    (other,) = [child.pid for child in psutil.Process(process.pid).children()]
    return process, other


def test_all_ranks_end_when_one_is_killed(tiny, tmp_path: Path) -> None:
    process, other = start(tiny, tmp_path)
    os.kill(other, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "error: rank 1 was ended by signal 9" in errors


def test_no_rank_outlives_the_first(tiny, tmp_path: Path) -> None:
    process, other = start(tiny, tmp_path)
    left = psutil.Process(other)
    process.kill()
    process.communicate(timeout=30)
    left.wait(timeout=30)


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (["trainer=cpu"], 1),
        (["trainer=ddp_cpu"], 2),
        (["trainer=ddp_cpu", "trainer.devices=1"], 1),
        (["trainer=ddp_cpu", "trainer.devices=auto"], 1),  # as Lightning counts a CPU
    ],
)
def test_as_many_processes_as_devices(
    compose_train, chosen: list[str], count: int, tmp_path: Path
) -> None:
    assert num_processes(compose_train(["task=vision", *chosen], tmp_path)) == count
