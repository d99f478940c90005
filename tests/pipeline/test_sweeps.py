"""Sweeps: names of jobs, failures, going on after the end, searches, launchers, memory."""

import json
import re
import signal
import sqlite3
import string
from pathlib import Path

import optuna
import psutil
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler

from attention_atlas.config.compose import compose_config, config_folder
from attention_atlas.config.validation.training import check_sweeper
from attention_atlas.errors import InputError
from attention_atlas.pipeline.runs.folder import locked
from attention_atlas.pipeline.sweeps.jobs import job_name
from attention_atlas.pipeline.sweeps.optuna_sweeper import Search, distribution
from tests.commands import run_script, start_command

FAILS = ["optimizer=sgd", "trainer.gradient_clip_val=null", "optimizer.lr=0.01,1e30"]
DIVERGED = "The loss became nan at step"


def jobs(sweep: Path) -> list[str]:
    return sorted(path.parent.name for path in sweep.glob("*/.hydra"))


def the_sweep(folder: Path) -> Path:
    (sweep,) = (folder / "outputs" / "sweeps").iterdir()
    return sweep


def when_written(sweep: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sweep.glob("*/result.json")}


@pytest.mark.parametrize(
    ("overrides", "left_out", "name"),
    [
        (["attention=cosine", "seed=1"], [], "attention-cosine_seed-1"),
        (["seed=1", "attention=cosine"], [], "attention-cosine_seed-1"),
        (["task=nlp", "seed=1"], ["task"], "seed-1"),
        (["task=nlp", "seed=1"], ["task", "seed"], "seed-1_task-nlp"),
        (["+data.word_dropout=0.1"], [], "data.word_dropout-0.1"),
        (["optimizer.lr=1e-05"], [], "optimizer.lr-1e-05"),
    ],
)
def test_a_job_is_named_from_its_overrides(overrides, left_out, name) -> None:
    assert job_name(overrides, left_out) == name


@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=1), st.text(), min_size=1))
def test_a_name_can_be_typed_and_is_never_too_long(values: dict[str, str]) -> None:
    name = job_name([f"{key}={value}" for key, value in values.items()])
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert name.strip(".") == name
    assert len(name) < 140


def test_signs_that_give_way_do_not_make_two_jobs_one() -> None:
    values = ["a/b", "a-b", "a b", "a=b", "a,b", "a" * 300, "a" * 301]
    assert len({job_name([f"data.path={value}"]) for value in values}) == len(values)


@pytest.fixture(scope="module")
def failing_sweep(tiny, tmp_path_factory) -> tuple[Path, list[str], str]:
    """A sweep in which one of two jobs fails, its command, and what it said."""
    folder = tmp_path_factory.mktemp("failing")
    command = ["train.py", "-m", *tiny["vision"], *FAILS]
    done = run_script(command, folder)
    assert done.returncode == 1
    return folder, command, done.stderr


@pytest.mark.slow
def test_a_failed_job_does_not_end_the_sweep(failing_sweep) -> None:
    folder, _, errors = failing_sweep
    sweep = the_sweep(folder)
    good, bad = jobs(sweep)
    assert good == "optimizer.lr-0.01"
    assert bad.startswith("optimizer.lr-1e-30-")
    assert (sweep / good / "result.json").is_file()
    assert json.loads((sweep / bad / "failure.json").read_text())["sentence"].startswith(DIVERGED)
    assert "1 job gave no result" in errors
    assert f"{sweep.name}/{bad}: {DIVERGED}" in errors
    assert "Traceback" not in errors
    assert (sweep / "sweep.csv").is_file()


@pytest.mark.slow
def test_the_same_sweep_skips_what_is_finished(failing_sweep) -> None:
    folder, command, _ = failing_sweep
    sweep = the_sweep(folder)
    before = when_written(sweep)
    again = run_script(command, folder)
    assert again.returncode == 1  # one job still fails
    assert "is finished already" in again.stdout
    assert again.stdout.count("epoch 1/") == 0
    assert the_sweep(folder) == sweep
    assert when_written(sweep) == before


@pytest.mark.slow
def test_a_sweep_of_another_command_is_another_sweep(failing_sweep, tmp_path: Path) -> None:
    folder, command, _ = failing_sweep
    sweep = the_sweep(folder)
    other = run_script([*command, "seed=1", f"hydra.sweep.dir={sweep}"], tmp_path)
    assert other.returncode == 2
    assert "holds a sweep of another command" in other.stderr
    anew = run_script([*command, "sweep.resume=false", f"hydra.sweep.dir={sweep}"], tmp_path)
    assert anew.returncode == 2
    assert "of an earlier run" in anew.stderr
    with locked(sweep):
        at_once = run_script(command, folder)
    assert at_once.returncode == 2
    assert "Another process is writing" in at_once.stderr


@pytest.mark.slow
def test_a_killed_sweep_resumes(tiny, tmp_path: Path) -> None:
    """The second of three jobs is killed, and ends as if nothing had happened."""
    noise = ["augmentation=image", "encoder.dropout=0.2"]
    plain = [word for word in tiny["vision"] if not word.startswith("trainer.max_epochs")]
    command = ["train.py", "-m", *plain, *noise, "trainer.max_epochs=30", "seed=0,1,2"]
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run_script(command, whole).returncode == 0
    process = start_command(command, tmp_path)
    assert process.stdout is not None
    lines = (line for line in process.stdout if line.startswith("epoch 4/"))
    next(lines), next(lines)
    process.kill()
    process.communicate(timeout=60)
    sweep = the_sweep(tmp_path)
    assert jobs(sweep) == ["seed-0", "seed-1"]
    before = when_written(sweep)
    assert len(before) == 1
    again = run_script(command, tmp_path)
    assert again.returncode == 0, again.stderr
    assert jobs(sweep) == ["seed-0", "seed-1", "seed-2"]
    assert before.items() <= when_written(sweep).items()
    for job in jobs(sweep):
        results = [
            json.loads((root / job / "result.json").read_text())
            for root in (sweep, the_sweep(whole))
        ]
        for name in (name for name in results[0] if name.startswith("test/")):
            assert results[0][name] == results[1][name]
    first_epochs = [line for line in again.stdout.splitlines() if line.startswith("epoch 1/")]
    assert len(first_epochs) == 1  # of seed 2 alone


def study_of(sweep: Path) -> optuna.Study:
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{sweep}/study.db")


class FakeLauncher:
    """Give the learning rate of each job as its result; None where the job is to fail."""

    def __init__(self, *failing: float) -> None:
        self.failing = failing
        self.batches: list[list[dict[str, str]]] = []

    def launch(self, job_overrides, initial_job_idx: int) -> list[JobReturn]:
        jobs = [dict(line.split("=", 1) for line in job) for job in job_overrides]
        self.batches.append(jobs)
        rates = [float(job["optimizer.lr"]) for job in jobs]
        results = [None if rate in self.failing else rate for rate in rates]
        return [JobReturn(_return_value=each, status=JobStatus.COMPLETED) for each in results]

    @property
    def rates(self) -> list[float]:
        return [float(job["optimizer.lr"]) for batch in self.batches for job in batch]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a search whose jobs take no time."""
    monkeypatch.setattr(
        "attention_atlas.pipeline.sweeps.optuna_sweeper.parse",
        lambda arguments: OverridesParser.create().parse_overrides(arguments),
    )
    config = OmegaConf.create(
        {"callbacks": {"checkpoint": {"mode": "max"}}, "hydra": {"sweeper": {"params": None}}}
    )

    def run(*overrides: str, failing: tuple[float, ...] = (), **options) -> FakeLauncher:
        launcher = FakeLauncher(*failing)
        options = {"sampler": None, "n_trials": 100, "n_jobs": 1} | options
        storage = f"sqlite:///{tmp_path}/study.db"
        Search(launcher, config, storage=storage, study_name="sweep", **options).run(overrides)
        return launcher

    return run


def test_a_grid_tries_each_combination_once_and_failed_ones_again(search, tmp_path) -> None:
    grid = ("seed=0,1", "optimizer.lr=0.1,0.2,0.4", "task=nlp")
    first = search(*grid, failing=(0.2,), n_jobs=4)
    assert [len(batch) for batch in first.batches] == [4, 2]
    tried = [(job["seed"], job["optimizer.lr"]) for batch in first.batches for job in batch]
    assert tried == [(seed, rate) for seed in "01" for rate in ("0.1", "0.2", "0.4")]
    assert {job["task"] for batch in first.batches for job in batch} == {"nlp"}
    assert search(*grid).rates == [0.2, 0.2]
    assert search(*grid).rates == []
    assert study_of(tmp_path).best_value == 0.4


def test_a_search_repeats_failed_trials_and_counts_those_with_a_value(search, tmp_path) -> None:
    space = "optimizer.lr=interval(0.01,0.1)"
    first = search(space, sampler=RandomSampler(seed=0), n_trials=3)
    assert len(set(first.rates)) == 3
    assert [job["hydra.sweeper.trial"] for (job,) in first.batches] == ["0", "1", "2"]
    more = search(space, sampler=RandomSampler(seed=0), n_trials=5, n_jobs=3)
    assert len(more.rates) == 2
    assert not set(more.rates) & set(first.rates)
    study = study_of(tmp_path)
    killed = study.ask({"optimizer.lr": FloatDistribution(0.01, 0.1)})
    again = search(space, sampler=RandomSampler(seed=0), n_trials=7)
    assert again.rates[0] == killed.params["optimizer.lr"]
    assert len(again.rates) == 2
    assert study_of(tmp_path).trials[killed.number].state.name == "FAIL"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=1,2.5,x", CategoricalDistribution([1, 2.5, "x"])),
        ("a='b,c',null", CategoricalDistribution(["'b,c'", "null"])),
        ("a=range(1,5)", IntDistribution(1, 5)),
        ("a=range(1,5,2)", IntDistribution(1, 5, step=2)),
        ("a=range(0.5,2,0.5)", FloatDistribution(0.5, 2, step=0.5)),
        ("a=interval(1,9)", FloatDistribution(1, 9)),
        ("a=interval(0.1,1)", FloatDistribution(0.1, 1)),
        ("a=tag(log,int(interval(1,9)))", IntDistribution(1, 9, log=True)),
        ("a=tag(log,interval(0.1,1))", FloatDistribution(0.1, 1, log=True)),
    ],
)
def test_overrides_are_distributions(override: str, expected: BaseDistribution) -> None:
    assert distribution(OverridesParser.create().parse_override(override)) == expected


def test_what_cannot_be_searched_over_is_refused(search, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"interval\(0.1,1\) has no list of values"):
        search("optimizer.lr=interval(0.1,1)")
    with pytest.raises(InputError, match="cannot be searched over"):
        search("optimizer.lr=tag(log,interval(-1,1))", sampler=RandomSampler())
    search("optimizer.lr=0.1")
    with sqlite3.connect(tmp_path / "study.db") as database:  # as Optuna 2.10 left it
        database.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    with pytest.raises(InputError, match="another version made it"):
        search("optimizer.lr=0.1")


SEARCH = ["hydra/sweeper=tpe", "optimizer.lr=interval(0.01,0.1)", "attention=scaled_dot,cosine"]
TWO_RANKS = ["trainer=ddp_cpu", "trainer.devices=2", "data.batch_size=8"]
PLAIN = [  # as in test_distributed: two ranks then give what one gives
    *("embedding.stem=linear", "augmentation=none", "optimizer=sgd", "callbacks.ema=null"),
    *("encoder.dropout=0", "embedding.dropout=0"),
]


@pytest.mark.slow
def test_each_trial_has_one_parameter_set_on_all_ranks(tiny, run_training, tmp_path: Path) -> None:
    """Trials by two ranks give the weights that one process gives with the trial's values."""
    plain = [word for word in tiny["vision"] if not word.startswith("data.batch_size")]
    plain = [*plain, *PLAIN, "capture=off"]
    command = ["train.py", "-m", *plain, *TWO_RANKS, *SEARCH, "hydra.sweeper.n_trials=3"]
    done = run_script(command, tmp_path)
    assert done.returncode == 0, done.stderr
    sweep = the_sweep(tmp_path)
    trials = study_of(sweep).trials
    assert len(trials) == len(jobs(sweep)) == 3
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 3
    for trial in trials:
        values = [f"{name}={value}" for name, value in trial.params.items()]
        one = tmp_path / f"one-{trial.number}"
        result = run_training([*plain, *values, "data.batch_size=16"], one)
        assert trial.value == pytest.approx(result["val/accuracy"], abs=1e-6)
        two = sweep / job_name(values)
        weights = [
            torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            for run in (one, two)
        ]
        for name, value in weights[0].items():
            torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
def test_a_search_over_groups_with_failing_jobs_and_ranks(tmp_path: Path) -> None:
    """Real texts and pictures, two ranks each; half of the points of the grid diverge."""
    few = [f"+trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]
    small = ["encoder.embed_dim=16", "encoder.num_heads=2", "encoder.depth=1", "capture=off"]
    command = [
        *("train.py", "-m", "hydra/sweeper=grid", "task=nlp,vision", *FAILS, *few, *small),
        *("trainer.max_epochs=1", *TWO_RANKS),
    ]
    done = run_script(command, tmp_path)
    assert done.returncode == 1, done.stderr
    sweep = the_sweep(tmp_path)
    states = {
        (trial.params["task"], float(trial.params["optimizer.lr"])): trial.state.name
        for trial in study_of(sweep).trials
    }
    assert states == {
        ("nlp", 0.01): "COMPLETE",
        ("nlp", 1e30): "FAIL",
        ("vision", 0.01): "COMPLETE",
        ("vision", 1e30): "FAIL",
    }
    assert len(jobs(sweep)) == 4
    assert len(list(sweep.glob("*/train.log"))) == 4
    assert sorted(path.parent.name for path in sweep.glob("*/result.json")) == [
        "optimizer.lr-0.01_task-nlp",
        "optimizer.lr-0.01_task-vision",
    ]
    for job in sweep.glob("*/failure.json"):
        assert DIVERGED in json.loads(job.read_text())["sentence"]
    assert "2 jobs gave no result" in done.stderr
    again = run_script(command, tmp_path)
    assert again.returncode == 1
    assert again.stdout.count("epoch 1/1") == 0  # those that gave a value are not run again


@pytest.mark.slow
def test_a_killed_search_resumes_its_study(tiny, tmp_path: Path) -> None:
    plain = [word for word in tiny["vision"] if not word.startswith("trainer.max_epochs")]
    command = ["train.py", "-m", *plain, *SEARCH, "trainer.max_epochs=30", "capture=off"]
    process = start_command([*command, "hydra.sweeper.n_trials=3"], tmp_path)
    assert process.stdout is not None
    lines = (line for line in process.stdout if line.startswith("epoch 4/"))
    next(lines), next(lines)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    sweep = the_sweep(tmp_path)
    finished, running = study_of(sweep).trials
    assert (finished.state.name, running.state.name) == ("COMPLETE", "RUNNING")
    again = run_script([*command, "hydra.sweeper.n_trials=3"], tmp_path)
    assert again.returncode == 0, again.stderr
    trials = study_of(sweep).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[2].params == running.params  # it went on, in the same folder
    assert len(jobs(sweep)) == 3
    assert again.stdout.count("epoch 1/30") == 1
    enough = run_script([*command, "hydra.sweeper.n_trials=3"], tmp_path)
    assert enough.returncode == 0
    assert len(study_of(sweep).trials) == len(trials)


@pytest.mark.slow
@pytest.mark.parametrize(("losses_of_before", "is_ended"), [(0.01, True), (100.0, False)])
def test_a_trial_worse_than_the_median_is_ended(
    losses_of_before, is_ended, tiny, tmp_path: Path
) -> None:
    plain = [word for word in tiny["vision"] if not word.startswith("trainer.max_epochs")]
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    study = optuna.create_study(study_name="sweep", storage=f"sqlite:///{sweep}/study.db")
    rates = optuna.distributions.CategoricalDistribution([0.003, 0.001])
    for _ in range(3):
        study.add_trial(
            optuna.trial.create_trial(
                params={"optimizer.lr": 0.003},
                distributions={"optimizer.lr": rates},
                intermediate_values=dict.fromkeys(range(9), losses_of_before),
                value=losses_of_before,
            )
        )
    command = [
        *("train.py", "-m", *plain, "hydra/sweeper=tpe", "optimizer.lr=0.003,0.001"),
        *("callbacks=pruning", "callbacks.pruning.startup_trials=3"),
        *("callbacks.checkpoint.monitor=val/loss", "callbacks.checkpoint.mode=min"),
        *("trainer.max_epochs=6", "hydra.sweeper.n_trials=4", f"hydra.sweep.dir={sweep}"),
    ]
    done = run_script(command, tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = (json.loads(path.read_text()) for path in sweep.glob("*/result.json"))
    assert bool(result.get("pruned")) == is_ended
    assert ("test/accuracy" in result) == (not is_ended)
    trial = study_of(sweep).trials[-1]
    assert trial.value == pytest.approx(result["val/loss"])
    assert len(trial.intermediate_values) == (3 if is_ended else 6)  # after two that each one gets


def test_pruning_without_a_search_is_refused(tmp_path: Path) -> None:
    done = run_script(["train.py", "callbacks=pruning"], tmp_path, torch=False)
    assert done.returncode == 2
    assert "callbacks=pruning needs a search" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_launchers_run_the_jobs_in_processes_of_their_own(launcher, tiny, tmp_path: Path) -> None:
    command = ["train.py", "-m", *tiny["vision"], *FAILS, f"hydra/launcher={launcher}"]
    done = run_script(command, tmp_path, forked=False)
    assert done.returncode == 1
    sweep = the_sweep(tmp_path)
    good, bad = jobs(sweep)
    assert (sweep / good / "result.json").is_file()
    assert DIVERGED in json.loads((sweep / bad / "failure.json").read_text())["sentence"]
    assert f"{sweep.name}/{bad}: {DIVERGED}" in done.stderr
    before = when_written(sweep)
    assert run_script(command, tmp_path, forked=False).returncode == 1
    assert when_written(sweep) == before


def test_a_search_without_optuna_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'=grid needs: pip install "attention-atlas\[sweep\]"'):
        check_sweeper(OmegaConf.create(), {"hydra/sweeper": "grid"})


def test_a_launcher_that_is_not_installed_is_named(repository, monkeypatch) -> None:
    Plugins.instance()  # registers the configs of those that are installed
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "joblib.yaml")
    words = r'hydra/launcher=joblib needs: pip install "attention-atlas\[joblib\]"'
    with config_folder(repository / "conf"), pytest.raises(InputError, match=words):
        compose_config("train", ["hydra/launcher=joblib"])


@pytest.mark.slow
def test_memory_does_not_grow_over_jobs(tiny, tmp_path: Path) -> None:
    """Twenty jobs in one process take no more than 10 % beyond what the third one took."""
    seeds = ",".join(str(seed) for seed in range(20))
    with start_command(["train.py", "-m", *tiny["vision"], f"seed={seeds}"], tmp_path) as process:
        assert process.stdout is not None
        resident = [
            psutil.Process(process.pid).memory_info().rss
            for line in process.stdout
            if line.startswith("run folder:")
        ]
    assert process.returncode == 0
    assert len(resident) == 20
    assert resident[-1] <= 1.1 * resident[2], [round(size / 2**20) for size in resident]
