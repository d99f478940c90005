"""Reading the folder of a sweep: states, metrics, what differs, and what is no sweep."""

import os

import pytest
import yaml

from attention_atlas.analysis.sweeps import State, read_sweep
from attention_atlas.analysis.sweeps.trial import parse_overrides
from attention_atlas.errors import InputError
from tests.made_sweeps import STARTED, write_job


def result(value, **more):
    return {"val/accuracy": value, "task": "nlp", "cpu_seconds": 3.5, "seed": 0, **more}


@pytest.fixture
def mixed(tmp_path):
    """A job of each state, among files and folders that are none."""
    write_job(tmp_path, "good", ["attention=dot"], result(0.5))
    write_job(tmp_path, "better", ["attention=cosine"], result(0.75, seed=4))
    write_job(tmp_path, "hopeless", ["attention=dot"], result(0.25, pruned=True))
    write_job(tmp_path, "running", ["attention=dot"])
    write_job(tmp_path, "broken", ["attention=dot"], failure="The loss is NaN.")
    (tmp_path / "notes").mkdir()
    (tmp_path / "multirun.yaml").write_text("hydra: {}")
    return tmp_path


def names(sweep):
    return [trial.name for trial in sweep.trials]


def test_states_and_what_each_trial_says(mixed):
    sweep = read_sweep(mixed)
    assert names(sweep) == ["better", "good", "hopeless", "running", "broken"]
    best, _, hopeless, running, broken = sweep.trials
    assert [trial.state.value for trial in sweep.trials] == [
        *("finished", "finished", "pruned", "unfinished", "failed"),
    ]
    assert (best.value, best.seed, best.cpu_seconds, best.failure) == (0.75, 4, 3.5, None)
    assert best.parameters == {"attention": "cosine"}
    assert best.folder == mixed / "better"
    assert hopeless.value == 0.25
    assert (running.value, running.seed, running.cpu_seconds) == (None, None, None)
    assert broken.failure == "The loss is NaN."
    assert sweep.best is best
    assert [trial.name for trial in sweep.ranked] == ["better", "good"]


def test_a_job_that_failed_and_was_tried_again_has_finished(mixed):
    (mixed / "broken" / "result.json").write_text('{"val/accuracy": 1.0}')
    assert read_sweep(mixed).best.name == "broken"


def test_what_differs_are_the_parameters(tmp_path):
    write_job(tmp_path, "a", ["task=nlp", "optimizer.lr=0.001", "+x='a b'", "depth=2"])
    write_job(tmp_path, "b", ["task=nlp", "optimizer.lr=1e-3", "++x=null", "depth=2"])
    write_job(tmp_path, "c", ["task=nlp", "optimizer.lr=.001", "depth=4", "~logger"])
    sweep = read_sweep(tmp_path)
    assert sweep.parameters == ["x", "depth", "logger"]  # a rate written in three ways is one
    assert {trial.name: list(trial.parameters.values()) for trial in sweep.trials} == {
        "a": ["a b", 2, None],
        "b": ["null", 2, None],
        "c": [None, 4, "deleted"],
    }


def test_overrides():
    overrides = ["a=1", "b=-2.5e-1", "c=nan", "d='1'", "e=[1,2]", "f==", "g=", 'h="it\'s"', "a=3"]
    overrides.append(f"i=1{'0' * 400}")
    assert parse_overrides(overrides) == {
        "a": 3,
        "b": -0.25,
        "c": "nan",
        "d": "1",
        "e": "[1,2]",
        "f": "=",
        "g": "",
        "h": "it's",
        "i": "1" + "0" * 400,
    }


def test_whole_numbers_that_no_float_can_hold(tmp_path):
    write_job(tmp_path, "a", [], {"val/accuracy": 10**400, "seed": 10**400})
    write_job(tmp_path, "b", [], result(0.5))
    assert read_sweep(tmp_path).best.name == "b"


def test_a_job_whose_overrides_are_lost_differs_in_nothing(tmp_path):
    for name, depth in (("a", 1), ("b", 1), ("c", 1)):
        write_job(tmp_path, name, [f"depth={depth}"], result(0.5))
    (tmp_path / "a" / ".hydra" / "overrides.yaml").write_bytes(b"[\xff")
    (tmp_path / "b" / ".hydra" / "overrides.yaml").unlink()
    assert read_sweep(tmp_path).parameters == []


@pytest.mark.parametrize(
    "content", [b"", b'{"val/accuracy": 0.', b"[1]", b"\xff\xfe{}", b"[" * 10**5]
)
def test_a_damaged_result_is_a_failed_job_and_the_rest_stands(mixed, content):
    path = mixed / "better" / "result.json"
    path.write_bytes(content)
    sweep = read_sweep(mixed)
    assert sweep.best.name == "good"
    (damaged,) = [trial for trial in sweep.trials if trial.name == "better"]
    assert damaged.state is State.FAILED
    assert damaged.failure.startswith(f"{path} cannot be read: ")


@pytest.mark.parametrize("content", ["", "{", "3", "{}"])
def test_a_damaged_failure_is_one_too(mixed, content):
    (mixed / "broken" / "failure.json").write_text(content)
    (broken,) = read_sweep(mixed).of_state(State.FAILED)
    assert broken.name == "broken"
    assert broken.failure


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_has_no_rank(mixed, value):
    write_job(mixed, "diverged", ["attention=dot"], result(value))
    sweep = read_sweep(mixed)
    assert sweep.best.name == "better"
    (diverged,) = [trial for trial in sweep.trials if trial.name == "diverged"]
    assert (diverged.state, diverged.value) == (State.FAILED, None)
    assert diverged.failure == f"val/accuracy is {value}, which has no rank."


def test_a_finished_job_without_the_metric_comes_after_those_with_it(mixed):
    write_job(mixed, "a", ["attention=dot"], {"test/accuracy": 0.9})
    sweep = read_sweep(mixed)
    assert names(sweep)[:3] == ["better", "good", "a"]
    assert sweep.trials[2].failure == "result.json has no val/accuracy."


@pytest.mark.parametrize(
    ("metric", "best"),
    [("val/accuracy", "b"), ("cpu_seconds", "a"), ("test/loss", "a"), ("val/accuracy/imdb", "b")],
)
def test_metrics_know_which_way_they_are_better(tmp_path, metric, best):
    write_job(tmp_path, "a", [], {metric: 0.25})
    write_job(tmp_path, "b", [], {metric: 0.5})
    sweep = read_sweep(tmp_path, metric)
    assert sweep.best.name == best
    assert sweep.metric.higher_is_better == (best == "b")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"sweep": {"metric": "test/loss"}}, "test/loss"),
        ({"sweep": {"metric": "${callbacks.checkpoint.monitor}"}}, "val/loss"),
        ({"sweep": {"metric": None}}, "val/loss"),
        ({}, "val/loss"),
        ({"callbacks": {"checkpoint": None}}, "val/accuracy"),
        ({"callbacks": None}, "val/accuracy"),
        ({"run_folder": "${hydra:runtime.output_dir}"}, "val/loss"),
    ],
)
def test_the_config_of_the_jobs_names_the_metric(tmp_path, config, expected):
    config = {"callbacks": {"checkpoint": {"monitor": "val/loss", "mode": "min"}}} | config
    values = {"test/loss": 0.5, "val/loss": 0.5, "val/accuracy": 0.5}
    write_job(tmp_path, "a", [], values, config=config)
    assert read_sweep(tmp_path).metric.name == expected


def test_a_metric_that_is_not_known_takes_the_mode_of_its_checkpoints(tmp_path):
    config = {"callbacks": {"checkpoint": {"monitor": "val/f2", "mode": "max"}}}
    write_job(tmp_path, "a", [], {"val/f2": 0.25}, config=config)
    write_job(tmp_path, "b", [], {"val/f2": 0.5}, config=config)
    assert read_sweep(tmp_path).best.name == "b"


def test_a_config_that_is_damaged_is_passed_over(mixed):
    (mixed / "better" / ".hydra" / "config.yaml").write_bytes(b"{")
    write_job(mixed, "z", [], {"test/loss": 1.0}, config={"sweep": {"metric": "test/loss"}})
    assert read_sweep(mixed).metric.name == "val/accuracy"  # of "broken", the first that is whole


def test_unknown_metrics_name_what_there_is(mixed):
    with pytest.raises(InputError, match="has the number 'val/acuracy': take one of val/accuracy"):
        read_sweep(mixed, "val/acuracy")
    with pytest.raises(InputError, match=r"better is not known: .* val/accuracy, cpu_seconds\.$"):
        read_sweep(mixed, "seed")
    with pytest.raises(InputError, match="has the number 'task'"):
        read_sweep(mixed, "task")


def test_a_sweep_that_has_just_begun(tmp_path):
    write_job(tmp_path, "a", ["seed=0"])
    sweep = read_sweep(tmp_path)
    assert sweep.best is None
    assert sweep.metric.name == "val/accuracy"


def test_what_is_no_sweep(mixed, tmp_path_factory):
    with pytest.raises(InputError, match="does not exist"):
        read_sweep(mixed / "nowhere")
    with pytest.raises(InputError, match="is a file"):
        read_sweep(mixed / "multirun.yaml")
    with pytest.raises(InputError, match="holds no folder of a job"):
        read_sweep(mixed / "notes")
    with pytest.raises(InputError, match=f"one run of a sweep: give that of all, '{mixed}'"):
        read_sweep(mixed / "good")
    (mixed / "multirun.yaml").unlink()
    with pytest.raises(InputError, match="is a single run, not a sweep: `atlas list "):
        read_sweep(mixed / "good")


def test_the_newest_of_several_sweeps_is_named(tmp_path):
    for place, name in enumerate(("b", "c", "a")):
        write_job(tmp_path / name, "job", [])
        os.utime(tmp_path / name, (STARTED + place, STARTED + place))
    with pytest.raises(InputError, match=f"holds 3: the newest is '{tmp_path / 'a'}'"):
        read_sweep(tmp_path)


def test_the_order_of_time(tmp_path):
    for name, ended in {"a": 30, "b": 10, "c": 20, "d": 10}.items():
        write_job(tmp_path, name, [], result(0.5), ended=ended)
    write_job(tmp_path, "e", [])
    assert [trial.name for trial in read_sweep(tmp_path).in_time] == ["b", "d", "c", "a"]


def test_names_with_odd_signs(tmp_path):
    name = "attention=cosine,seed=1 [é] $x$ '"
    write_job(tmp_path, name, ["data.path='a, b.csv'"], result(0.5))
    path = tmp_path / name / ".hydra" / "overrides.yaml"
    assert yaml.safe_load(path.read_text()) == ["data.path='a, b.csv'"]
    assert names(read_sweep(tmp_path)) == [name]
