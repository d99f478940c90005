"""Every YAML file in conf/ says how it is used, and that command composes."""

import inspect
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from attention_atlas.attention import SCORES, Attention
from attention_atlas.config.compose import (
    compose_config,
    config_folder,
    group_choices,
    without_hydra,
)
from attention_atlas.config.overrides import one_per_job
from attention_atlas.config.plain import flat, plain, resolved
from attention_atlas.config.validation import FITTING, MONITORED, check_config, check_data
from attention_atlas.config.validation.schema import (
    Attention as AttentionOptions,
)
from attention_atlas.config.validation.schema import (
    BaselineConfig,
    EvaluationConfig,
    Metric,
    TrainConfig,
    schema_of,
)
from attention_atlas.option_schema import Node, described_options

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml"))


def command_of(file: str) -> list[str]:
    """The words of the command in the file's opening comment."""
    for line in (CONF / file).read_text(encoding="utf-8").splitlines()[:3]:
        if line.startswith("# atlas "):
            return shlex.split(line.removeprefix("# atlas ").replace("<time>", "TIME"))
    raise AssertionError(f"conf/{file} does not open with the command that uses it")


def jobs_of(file: str) -> tuple[str, list[list[str]]]:
    """The main config of that command, and the overrides of each of its jobs."""
    name, *overrides = command_of(file)
    multirun = "-m" in overrides
    overrides = [override for override in overrides if override not in ("-m", "--help")]
    if name == "evaluate":  # as atlas evaluate does for values of the run
        overrides = [f"++{o}" if o.partition("=")[0].count(".") else o for o in overrides]
    with config_folder(CONF):
        return name, one_per_job(overrides) if multirun else [overrides]


FREE = ("data.augmentation.", "encoder.lora.", "trainer.profiler.")
"""Groups that are checked elsewhere, or by the class that takes them."""

COMPOSED_BY = {"train": TrainConfig, "evaluate": EvaluationConfig, "baseline": BaselineConfig}


@pytest.mark.parametrize("file", FILES)
def test_a_config_opens_with_a_command_that_composes_it(file: str) -> None:
    """Its keys are all in the schema, also those of classes that may take more."""
    name, jobs = jobs_of(file)
    assert (CONF.parent / f"{name}.py").is_file()
    with config_folder(CONF):
        for job in jobs:
            config = compose_config(name, job)
            HydraConfig.instance().set_config(config)
            if "/" in file and not file.startswith("hydra/"):
                group, option = file.removesuffix(".yaml").split("/")
                assert group_choices(config)[group] == option
            config = without_hydra(config)
            if "run_folder" in config:
                config.run_folder = "outputs"
            values = resolved(config)
            assert values == plain(config)
            root = COMPOSED_BY[name]
            schema = root if name == "evaluate" else schema_of(root, values)
            free = ("data.", "capture.", "trainer.") if name == "evaluate" else FREE
            keys = {key for key in flat(values) if not key.startswith(free)}
            assert keys <= set(described_options(schema))


def test_each_score_is_accepted_and_has_a_config() -> None:
    assert described_options(AttentionOptions)["score"]["enum"] == list(SCORES)
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

    assert set(MONITORED) == set(get_args(Metric)) == {"val/loss", *_metrics(2, "val/")}


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
@pytest.mark.parametrize("name", ["train", "baseline"])
def test_the_defaults_of_a_task_pass_every_check(task: str, name: str, tmp_path: Path) -> None:
    with config_folder(CONF):
        config = compose_config(name, [f"task={task}"])
        choices = group_choices(config)
    config = without_hydra(config)
    if name == "train":
        config.run_folder = str(tmp_path)
    check = check_config if name == "train" else check_data
    check(config, choices)


@pytest.mark.parametrize("root", COMPOSED_BY.values(), ids=COMPOSED_BY)
def test_every_option_has_a_description(root: type[Node]) -> None:
    models, found = [root], set()
    while models:
        model = models.pop()
        found.add(model)
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            models += [part for part in parts_of(field.annotation) if part not in found]
    assert root is EvaluationConfig or len(found) > 8


def parts_of(annotation: Any) -> list[type[Node]]:
    """The models in the type of a field."""
    if isinstance(annotation, type) and issubclass(annotation, Node):
        return [annotation]
    return [part for argument in get_args(annotation) for part in parts_of(argument)]
