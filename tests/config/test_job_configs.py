"""Configs of jobs that differ in values alone are those of Hydra, and are composed once."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from attention_atlas.config import compose
from attention_atlas.config.compose import Checker, compose_config, config_folder, group_choices
from attention_atlas.config.job_configs import JobComposer
from attention_atlas.config.overrides import one_per_job
from attention_atlas.config.validation import check_config
from attention_atlas.errors import InputError
from attention_atlas.pipeline.sweeps.jobs import job_name
from tests.conftest import REPOSITORY

NODE = "callbacks.early_stopping"
SWEEPS = {
    "numbers and texts": [
        "seed=range(3)",
        "optimizer.lr=0.1,1e-3",
        "init='a b',null,'${data.name}'",
    ],
    "groups": ["task=nlp,vision", "attention=dot,cosine"],
    "a group after values": ["seed=1,2", "task=nlp,speech"],
    "experiment": ["experiment=fashion_mnist,synthesised_voices", "seed=0,1"],
    "added": ["+trainer.limit_val_batches=1,2", "seed=0,1"],
    "forced": ["++trainer.limit_val_batches=1,2", "trainer.max_epochs=1,2"],
    "deleted": ["~trainer.gradient_clip_val", "seed=0,1"],
    "nodes and values in them": [f"{NODE}={{patience:5}},{{patience:6}}", f"{NODE}.mode=max,min"],
    "a value behind its node": [f"{NODE}.patience=1,2", f"{NODE}={{patience:5}}"],
    "a value twice": ["trainer.max_epochs=1,2", "++trainer.max_epochs=[3]"],
    "nodes that go and come": ["callbacks.ema=null,{decay:0.5},null", "seed=0,1"],
    "lists": ["optimizer.betas=[0.1,0.2],[0.3,0.4]", "seed=0,1"],
    "hydra": ["hydra.job.name=a,b", "seed=0,1"],
    "interpolations": ["encoder.embed_dim=16,32", "embedding.dropout=${encoder.dropout},0.5"],
}


@pytest.fixture(autouse=True)
def composed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """The overrides of each composition by Hydra."""
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    calls = []

    def counted(name: str, overrides: list[str], **options: Any) -> Any:
        calls.append(overrides)
        return hydra.compose(name, overrides, **options)

    monkeypatch.setattr(compose, "compose", counted)
    with config_folder(REPOSITORY / "conf"):
        yield calls


@pytest.mark.parametrize("sweep", SWEEPS.values(), ids=SWEEPS)
@pytest.mark.slow
def test_each_job_has_the_config_that_hydra_composes(sweep: list[str], tmp_path: Path) -> None:
    composer = JobComposer("train")
    for number, lines in enumerate(one_per_job(["task=vision", *sweep])):
        lines += [f"hydra.sweep.dir={tmp_path}"]
        job = composer.compose(lines, number)
        expected = compose_config("train", lines)
        expected.hydra.job.num, expected.hydra.job.id = number, f"job_id_for_{number}"
        assert OmegaConf.to_yaml(job.whole) == OmegaConf.to_yaml(expected)
        assert job.whole.hydra.sweep.subdir == expected.hydra.sweep.subdir
        del expected._content["hydra"]
        assert OmegaConf.to_yaml(job.config) == OmegaConf.to_yaml(expected)


@pytest.mark.parametrize(
    ("sweep", "count"),
    [(["seed=range(100)"], 1), (["attention=dot,cosine,gated", "seed=range(3)"], 3)],
)
def test_each_choice_of_groups_is_composed_once(
    sweep: list[str], count: int, composed: list[list[str]]
) -> None:
    composer = JobComposer("train")
    jobs = one_per_job(["task=vision", *sweep])
    seeds = [composer.compose(lines, number).config.seed for number, lines in enumerate(jobs)]
    assert len(composed) == count
    assert len(set(seeds)) * count == len(jobs)


def test_each_job_is_checked_and_its_folder_is_known(tmp_path: Path) -> None:
    folders = []
    checker = Checker(lambda config, _: folders.append(config.run_folder))
    composer = JobComposer("train")
    for number, lines in enumerate(
        one_per_job(["task=vision", "seed=range(5)", "resume=null,auto"])
    ):
        job = composer.compose(lines, number)
        for _ in range(2):
            checker.check(job.config, group_choices(job.whole), str(tmp_path / str(number)))
        assert OmegaConf.to_container(job.config)["run_folder"] == "${hydra:runtime.output_dir}"
    assert folders == [str(tmp_path / str(number)) for number in range(10)]


def checked(composer: JobComposer, checker: Checker, lines: list[str], folder: Path) -> None:
    job = composer.compose(lines, 0)
    checker.check(job.config, group_choices(job.whole), str(folder))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=range(5)", "encoder.num_heads=2,4,5"], "encoder.num_heads=5"),
        (["seed=0,1,2,-1"], "seed=-1"),
        (["seed=0,1,x"], "seed=x"),
        (["optimizer.lr=0.1,0.2,'${none}'"], "none"),
        (["trainer.max_epochs=1,2,'${'"], "max_epochs"),
    ],
)
def test_the_last_of_jobs_that_share_a_config_is_refused(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    composer, checker = JobComposer("train"), Checker(check_config)
    *good, bad = one_per_job(["task=vision", *overrides])
    for lines in good:
        if "num_heads=5" not in " ".join(lines):
            checked(composer, checker, lines, tmp_path)
    with pytest.raises(InputError, match=message):
        checked(composer, checker, bad, tmp_path)


def test_files_are_read_once_for_jobs_with_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attention_atlas.data import check

    read = []
    monkeypatch.setattr(check, "check_text", lambda config, _: read.append(config["seed"]))
    composer = JobComposer("train")
    checker = Checker(partial(check_config, checked_data=set()))
    jobs = one_per_job(["task=nlp", "attention=dot,cosine", "encoder.depth=1,2", "seed=0,1"])
    for lines in jobs:
        checked(composer, checker, lines, tmp_path)
    assert read == [0, 1]
