"""Two processes give what one gives: the same weights, metrics and atlas, in one run folder."""

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy

from attention_atlas.atlas import open_atlas
from attention_atlas.devices import num_processes, precision_of
from attention_atlas.pipeline.distributed.cluster import find_cluster
from tests.commands import REPOSITORY, run_script, start_command, start_training
from tests.pipeline.conftest import weights

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
        "trainer.sync_batchnorm=false",
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


@pytest.mark.slow
def test_the_weights_are_those_of_one_process(job, both) -> None:
    one, two = (weights(run) for run in job)
    assert one.keys() == two.keys()
    for name, values in one.items():
        torch.testing.assert_close(two[name], values, rtol=0, atol=1e-6, msg=name)
    (other,) = (weights(run) for run in both["one"][0].glob("optimizer*") if run != job[0])
    assert not torch.allclose(other["model.head.weight"], one["model.head.weight"], atol=1e-3)


@pytest.mark.slow
def test_metrics_count_every_sample_once(job) -> None:
    one, two = (json.loads((run / "result.json").read_text()) for run in job)
    confusion = [result.pop("test/confusion_matrix") for result in (one, two)]
    assert confusion[0] == confusion[1]
    assert sum(confusion[1]["count"]) == two["num_test_samples"]
    for name in (name for name in one if name.startswith(("test/", "val/"))):
        np.testing.assert_allclose(two[name], one[name], atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_the_atlas_holds_every_sample_once(job) -> None:
    one, two = (open_atlas(run) for run in job)
    assert len(two) == len(one)
    assert two.num_repeated == 0
    assert set(two.sample_ids) == set(one.sample_ids)
    for sample in one:
        np.testing.assert_allclose(two.sample(sample.sample_id).maps, sample.maps, atol=1e-3)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("ranks", ["two", "sharded"])
def test_one_process_evaluates_what_two_have_trained(ranks, both) -> None:
    run = both[ranks][0] / "optimizer.lr-0.1"
    done = run_script(["evaluate.py", f"run={run}"], run.parent)
    assert done.returncode == 0, done.stderr
    (result,) = run.glob("evaluations/*/result.json")
    trained, evaluated = (json.loads(path.read_text()) for path in (run / "result.json", result))
    counts = "test/confusion_matrix"
    assert evaluated.pop(counts) == trained.pop(counts)
    for name in (name for name in trained if name.startswith("test/")):
        np.testing.assert_allclose(evaluated[name], trained[name], atol=1e-6, err_msg=name)


def start(
    tiny, folder: Path, chosen: list[str] | None = None, epoch: int = 2
) -> tuple["subprocess.Popen[str]", int]:
    """A long training by two processes, and the number of the second one."""
    chosen = chosen or [*overrides("vision", tiny), *RUNS["two"]]
    process = start_training(chosen, folder, epoch=epoch)
    (other,) = [child.pid for child in psutil.Process(process.pid).children()]
    return process, other


@pytest.mark.slow
def test_all_ranks_end_when_one_is_killed(tiny, tmp_path: Path) -> None:
    process, other = start(tiny, tmp_path)
    os.kill(other, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "error: rank 1 was ended by signal 9" in errors


@pytest.mark.slow
def test_a_sweep_continues_when_one_rank_of_a_job_is_lost(tiny, tmp_path: Path) -> None:
    plain = [*overrides("vision", tiny), *RUNS["two"], "capture=off", "trainer.max_epochs=60"]
    process = start_command(["train.py", "-m", *plain, "seed=0,1"], tmp_path)
    assert process.stdout is not None
    assert any(line.startswith("epoch 2/") for line in process.stdout)
    (other,) = [child.pid for child in psutil.Process(process.pid).children()]
    os.kill(other, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    failure = json.loads((sweep / "seed-0" / "failure.json").read_text())
    assert failure["sentence"].startswith("rank 1 was ended by signal 9")
    assert (sweep / "seed-1" / "result.json").is_file()
    assert "1 job gave no result" in errors


@pytest.mark.slow
def test_no_rank_outlives_the_first(tiny, tmp_path: Path) -> None:
    process, other = start(tiny, tmp_path)
    left = psutil.Process(other)
    process.kill()
    process.communicate(timeout=30)
    left.wait(timeout=30)


@pytest.mark.parametrize(
    ("chosen", "precision"),
    [
        (["trainer=cpu"], "32-true"),
        (["trainer=ddp_cpu"], "32-true"),
        (["trainer=mps"], "32-true"),
        (["trainer=gpu"], "bf16-mixed"),
        (["trainer=ddp"], "bf16-mixed"),
        (["trainer=fsdp"], "bf16-mixed"),
        (["trainer=gpu", "trainer.precision=32-true"], "32-true"),
    ],
)
def test_the_precision_suits_the_device(
    compose_train, chosen: list[str], precision: str, tmp_path: Path
) -> None:
    assert precision_of(compose_train(["task=vision", *chosen], tmp_path)) == precision


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


@pytest.mark.slow
def test_two_ranks_save_and_end_together(tiny, tmp_path: Path) -> None:
    """One of them is told to; both go on later, from the same step."""
    chosen = [*overrides("vision", tiny), *RUNS["two"], "resume=auto"]
    process, other = start(tiny, tmp_path, chosen)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "ended by SIGTERM" in errors
    assert "Traceback" not in errors
    assert not psutil.pid_exists(other)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    again, _ = start(tiny, tmp_path, chosen, epoch=int(last["epoch"]) + 2)
    again.kill()
    again.communicate(timeout=60)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
LAUNCHED = ["data.batch_size=8", "trainer=ddp_cpu", "trainer.devices=2"]


def torchrun(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    script, *rest = arguments
    return subprocess.run(
        [*TORCHRUN, str(REPOSITORY / script), *rest],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_ranks_that_torchrun_started_share_one_run(tiny, tmp_path: Path) -> None:
    """Both ranks train with the config of the first, as one process does."""
    done = torchrun(["train.py", *overrides("vision", tiny), *LAUNCHED], tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "vision").iterdir()
    assert done.stdout.count("epoch 1/2") == 1
    assert [path.name for path in run.glob("*.log")] == ["train.log"]
    atlas = open_atlas(run)
    result = json.loads((run / "result.json").read_text())
    assert (len(atlas), atlas.num_repeated) == (result["num_test_samples"], 0)
    plain = [*overrides("vision", tiny), *RUNS["one"]]
    one = run_script(["train.py", *plain, f"hydra.run.dir={tmp_path / 'one'}"], tmp_path)
    assert one.returncode == 0, one.stderr
    for name, values in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(run)[name], values, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
def test_a_sweep_that_torchrun_started_is_refused(tmp_path: Path) -> None:
    done = torchrun(["train.py", "-m", "trainer=ddp_cpu", "seed=0,1"], tmp_path)
    assert done.returncode != 0
    assert "a sweep takes one: start it by itself, with hydra/launcher=slurm" in done.stderr
    assert not (tmp_path / "outputs").exists()


def srun(arguments: list[str], folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """Start two processes with the variables that SLURM's srun gives, on one machine."""
    processes = []
    for rank in range(2):
        slurm = {
            "SLURM_JOB_ID": str(10_000 + os.getpid() % 10_000),
            "SLURM_STEP_NUM_TASKS": "2",
            "SLURM_STEP_TASKS_PER_NODE": "2",
            "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank),
            "SLURM_NODEID": "0",
        }
        processes.append(start_command(arguments, folder, slurm))
    done = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        done.append(subprocess.CompletedProcess([], process.returncode, output, errors))
    return done


@pytest.mark.slow
def test_ranks_that_slurm_started_share_one_run(tiny, tmp_path: Path) -> None:
    first, second = srun(["train.py", *overrides("vision", tiny), *LAUNCHED], tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    (run,) = (tmp_path / "outputs" / "vision").iterdir()
    assert (run / "result.json").is_file()
    assert first.stdout.count("run folder:") == 1
    assert second.stdout == ""


@pytest.mark.slow
def test_an_error_ends_all_ranks_that_slurm_started(tiny, tmp_path: Path) -> None:
    wrong = ["optimizer.lr=1e30", "trainer.gradient_clip_val=null"]
    ended = srun(["train.py", *overrides("vision", tiny), *LAUNCHED, *wrong], tmp_path)
    assert all(process.returncode for process in ended)
    assert "The loss became nan" in ended[0].stderr + ended[1].stderr
    few = srun(["train.py", *overrides("vision", tiny), "trainer=cpu"], tmp_path)
    assert few[0].returncode == 2
    assert "2 processes were started, as by torchrun or srun, and this takes one" in few[0].stderr
    assert few[1].returncode == 1
    assert few[1].stderr == ""


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[03-07,12],login1", "gpu03"), ("node7", "node7"), ("a-[1,3]", "a-1"), ("a,b", "a")],
)
def test_ranks_of_slurm_meet_on_its_first_machine(nodes, first, monkeypatch) -> None:
    slurm = {
        "SLURM_JOB_ID": "7654321",
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
    }
    before = dict(os.environ)
    try:
        os.environ.update(slurm)
        find_cluster.cache_clear()
        place = find_cluster()
        assert place is not None
        assert (place.rank, place.num_ranks, place.ranks_per_node, place.num_nodes) == (5, 8, 4, 2)
        assert os.environ["MASTER_ADDR"] == first
        assert os.environ["MASTER_PORT"] == "19321"
    finally:
        find_cluster.cache_clear()
        os.environ.clear()
        os.environ.update(before)


def test_accumulated_batches_step_as_one(tiny, run_training, tmp_path: Path) -> None:
    plain = overrides("vision", tiny)
    large = ["data.batch_size=16", "+trainer.limit_train_batches=4"]
    small = ["data.batch_size=8", "+trainer.limit_train_batches=8"]
    run_training([*plain, *large], tmp_path / "large")
    run_training([*plain, *small, "trainer.accumulate_grad_batches=2"], tmp_path / "small")
    for name, values in weights(tmp_path / "large").items():
        other = weights(tmp_path / "small")[name]
        torch.testing.assert_close(other, values, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
def test_a_sharded_run_resumes(tiny, tmp_path: Path) -> None:
    """Its checkpoint is whole, and gives each rank its part of weights and optimizer."""
    adam = [*overrides("vision", tiny), *RUNS["sharded"], "optimizer=adamw", "resume=auto"]
    whole, cut = tmp_path / "whole", tmp_path / "run"
    done = run_script(
        ["train.py", *adam, "trainer.max_epochs=4", f"hydra.run.dir={whole}"], whole.parent
    )
    assert done.returncode == 0, done.stderr
    command = ["train.py", *adam, "trainer.max_epochs=4", f"hydra.run.dir={cut}"]
    process = start_command(command, tmp_path)
    assert process.stdout is not None
    assert any(line.startswith("epoch 2/") for line in process.stdout)
    process.kill()
    process.communicate(timeout=60)
    again = run_script(command, tmp_path)
    assert again.returncode == 0, again.stderr
    for name, values in weights(whole).items():
        torch.testing.assert_close(weights(cut)[name], values, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.parametrize("trainer", ["gpu", "ddp", "fsdp"])
def test_gpus_train_in_bfloat16(trainer, tiny, tmp_path: Path) -> None:
    chosen = [f"trainer={trainer}", *(["callbacks.ema=null"] if trainer == "fsdp" else [])]
    done = run_script(["train.py", *tiny["vision"], *chosen], tmp_path)
    assert done.returncode == 0, done.stderr


def test_lightning_shards_by_the_private_method_that_is_overridden() -> None:
    method = FSDPStrategy._setup_model
    assert "_setup_model" in FSDPStrategy.setup.__code__.co_names
    assert list(inspect.signature(method).parameters) == ["self", "model"]
    # Once Lightning passes the device itself, the override can go.
    assert "device_id=self.root_device.index" in inspect.getsource(method)
