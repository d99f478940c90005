"""Every YAML file in conf/ says how it is used, and that command composes."""

import inspect
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from attention_atlas.attention import SCORES, Attention
from attention_atlas.config.compose import (
    compose_config,
    config_folder,
    group_choices,
    without_hydra,
)
from attention_atlas.config.overrides import one_per_job
from attention_atlas.config.validation import FITTING, MONITORED, RULES
from attention_atlas.pipeline.app import HydraConfig

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml"))


def command_of(file: str) -> list[str]:
    """The words of the command in the file's opening comment."""
    for line in (CONF / file).read_text(encoding="utf-8").splitlines()[:3]:
        if line.startswith("# python "):
            return shlex.split(line.removeprefix("# python ").replace("<time>", "TIME"))
    raise AssertionError(f"conf/{file} does not open with the command that uses it")


@pytest.mark.parametrize("file", FILES)
def test_a_config_opens_with_a_command_that_composes_it(file: str) -> None:
    script, *overrides = command_of(file)
    assert (CONF.parent / script).is_file()
    name = script.removesuffix(".py")
    multirun = "-m" in overrides
    overrides = [override for override in overrides if override not in ("-m", "--help")]
    if name == "evaluate":  # as evaluate.py does for values of the run
        overrides = [f"++{o}" if o.partition("=")[0].count(".") else o for o in overrides]
    with config_folder(CONF):
        for job in one_per_job(overrides) if multirun else [overrides]:
            config = compose_config(name, job)
            HydraConfig.instance().set_config(config)
            if "/" in file and not file.startswith("hydra/"):
                group, option = file.removesuffix(".yaml").split("/")
                assert group_choices(config)[group] == option
            config = without_hydra(config)
            if "run_folder" in config:
                config.run_folder = "outputs"
            OmegaConf.to_container(config, resolve=True)


def test_each_score_is_accepted_and_has_a_config() -> None:
    assert set(RULES["attention.score"].choices) == set(SCORES)
    options = {path.stem for path in (CONF / "attention").glob("*.yaml")}
    assert options == set(SCORES) | {"gated", "null_key"}
    for name in SCORES:
        assert OmegaConf.load(CONF / "attention" / f"{name}.yaml").score == name


@pytest.mark.parametrize("score", SCORES)
def test_each_score_takes_every_option_with_its_default(score: str) -> None:
    with config_folder(CONF):
        composed = compose_config("train", ["task=nlp", f"attention={score}"]).attention
    options = inspect.signature(Attention).parameters
    defaults = {name: option.default for name, option in options.items()}
    sizes = {"embed_dim", "num_heads"}
    assert composed == {name: defaults[name] for name in defaults if name not in sizes} | {
        "score": score
    }


@pytest.mark.parametrize("group", FITTING)
def test_each_option_fits_a_modality(group: str) -> None:
    fitting = {option for options in FITTING[group].values() for option in options}
    assert fitting == {path.stem for path in (CONF / group).glob("*.yaml")}


def test_what_may_be_monitored_is_logged() -> None:
    from attention_atlas.tasks.base import _metrics

    assert set(MONITORED) == {"val/loss", *_metrics(2, "val/")}


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
@pytest.mark.parametrize("name", ["train", "baseline"])
def test_the_defaults_of_a_task_pass_every_check(task: str, name: str, tmp_path: Path) -> None:
    from attention_atlas.config.compose import compose_reference
    from attention_atlas.config.validation import check_config, check_data

    with config_folder(CONF):
        config = compose_config(name, [f"task={task}"])
        choices = group_choices(config)
        reference = compose_reference(name, choices)
    config = without_hydra(config)
    if name == "train":
        config.run_folder = reference.run_folder = str(tmp_path)
    check = check_config if name == "train" else check_data
    check(config, reference, choices)
