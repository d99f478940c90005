"""The page of results says what the folders of runs say."""

import json
import shutil
import statistics
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from attention_atlas.config.compose import compose_config, config_folder, without_hydra
from benchmarks import experiments
from benchmarks.published import EXPERIMENTS
from tests.commands import run_script
from tests.conftest import REPOSITORY
from tests.data.image.test_corpora import write_mnist

KEPT = json.loads(experiments.KEPT.read_text(encoding="utf-8"))


def test_the_page_is_what_was_kept() -> None:
    page = experiments.PAGE.read_text(encoding="utf-8")
    head, tail = experiments.prose(page)
    assert tail
    assert page == head + experiments.tables(KEPT) + tail


@pytest.mark.parametrize("name", sorted(KEPT))
def test_a_config_opens_with_the_figure_that_was_reached(name: str) -> None:
    runs = KEPT[name]["runs"]
    lines = (REPOSITORY / "conf" / "experiment" / f"{name}.yaml").read_text().splitlines()
    header = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
    median = statistics.median(run["test/accuracy"] for run in runs)
    minutes = statistics.median(run["cpu_seconds"] for run in runs) / 60
    assert f"{100 * median:.1f} %" in header
    assert f"{minutes:.0f} CPU minutes" in header
    seeds = ", ".join(str(run["seed"]) for run in runs)
    assert f"seeds {seeds}" in header


@pytest.mark.parametrize(
    ("overrides", "follows"),
    [
        (["seed=2", "data.path=here", "resume=auto"], True),
        (["trainer=ddp", "trainer.devices=2"], True),
        (["optimizer.lr=1"], False),
        (["debug=fast"], False),
    ],
)
def test_a_run_follows_the_recipe_where_it_changed_nothing_of_it(
    overrides: list[str], follows: bool, tmp_path: Path
) -> None:
    (tmp_path / ".hydra").mkdir()
    with config_folder(REPOSITORY / "conf"):
        whole = compose_config("train", ["experiment=fashion_mnist", *overrides])
    config = without_hydra(whole)
    choices = {"experiment": "fashion_mnist", "debug": "fast" if "debug" in overrides[0] else None}
    hydra = OmegaConf.create({"hydra": {"runtime": {"choices": choices}}})
    OmegaConf.save(config, tmp_path / ".hydra" / "config.yaml")
    OmegaConf.save(hydra, tmp_path / ".hydra" / "hydra.yaml")
    assert experiments.experiment_of(tmp_path) == ("fashion_mnist" if follows else None)


@pytest.mark.slow
def test_it_is_read_from_the_folders_of_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_mnist(data / "FashionMNIST" / "raw", num_train=200)
    choice = ["experiment=fashion_mnist", f"data.path={data}", "data.batch_size=8"]
    choice += ["trainer.max_epochs=1", "encoder.embed_dim=16", "capture=off"]
    run = tmp_path / "outputs" / "one"
    done = run_script(["train.py", *choice, f"hydra.run.dir={run}"], tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((run / "result.json").read_text())
    assert experiments.collect(tmp_path / "outputs") == {}  # a trial: it changed the recipe
    recipe = experiments.recipe_of("fashion_mnist")
    OmegaConf.update(recipe, "data.path", str(data))
    OmegaConf.save(recipe, run / ".hydra" / "config.yaml")

    evaluation = run / "evaluations" / "later"
    (evaluation / ".hydra").mkdir(parents=True)
    how = yaml.safe_dump(["run=x", "data=other", "++data.path=y"])
    (evaluation / ".hydra" / "overrides.yaml").write_text(how)
    trial = evaluation.with_name("trial")
    shutil.copytree(evaluation, trial)
    (trial / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(["++data.clip_seconds=2"]))
    (trial / "result.json").write_text(json.dumps(result))
    other = result | {"test/accuracy": 0.25, "data": "other", "baseline": None}
    (evaluation / "result.json").write_text(json.dumps(other))
    baseline = {"model": "a forest", "test/accuracy": 0.5, "strength": 1.0}
    (run / "result.json").write_text(json.dumps(result | {"baseline": baseline}))
    shutil.copytree(run, tmp_path / "outputs" / "again")
    plain = tmp_path / "outputs" / "plain"  # started without an experiment
    plain.mkdir()
    (plain / "result.json").write_text(json.dumps(result))

    kept = experiments.collect(tmp_path / "outputs")
    assert list(kept) == ["fashion_mnist"]
    (entry,) = kept["fashion_mnist"]["runs"]
    assert entry["test/accuracy"] == result["test/accuracy"]
    assert entry["baseline"] == {"model": "a forest", "test/accuracy": 0.5}
    (other,) = kept["fashion_mnist"]["evaluations"]
    assert other["test/accuracy"] == 0.25

    row = next(line for line in experiments.tables(kept).splitlines() if "fashion" in line)
    assert f"{100 * result['test/accuracy']:.1f} %" in row
    assert "50.0 %, a forest" in row
    others = len(EXPERIMENTS) - 1
    assert experiments.tables(kept).count("not run in full") == others


def test_a_row_of_other_data_takes_the_evaluations_on_them() -> None:
    run = {"seed": 0, "num_parameters": 1234, "cpu_seconds": 60.0}
    evaluations = [
        {"seed": 0, "data": "speech_commands", "test/accuracy": 0.6},
        {"seed": 0, "data": "spoken_commands", "test/accuracy": 0.99},
        {"seed": 1, "data": "speech_commands", "test/accuracy": 0.7},
    ]
    kept = {"synthesised_voices": {"runs": [run], "evaluations": evaluations}}
    (row,) = (line for line in experiments.tables(kept).splitlines() if "clips of" in line)
    assert "| 65.0 % (60.0, 70.0) |  | not measured |" in row


def test_several_seeds_are_reported_with_their_median() -> None:
    runs = [
        {"seed": seed, "test/accuracy": accuracy, "val/accuracy": 0.5, "num_parameters": 1234,
         "cpu_seconds": 60.0 * (seed + 1)}
        for seed, accuracy in enumerate([0.9, 0.95, 0.7])
    ]  # fmt: skip
    table = experiments.tables({"fashion_mnist": {"runs": runs, "evaluations": []}})
    row = next(line for line in table.splitlines() if "fashion" in line)
    assert "| 90.0 % (90.0, 95.0, 70.0) | 50.0 % | not measured |" in row
    assert row.endswith("| 1,234 | 2 |")
