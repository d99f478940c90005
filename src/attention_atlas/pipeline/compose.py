"""Compose configs, and say in plain sentences why one cannot be composed. Never imports torch."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.errors import InputError

OVERLAYS = ("experiment", "debug", "local")
"""Groups whose options change values of the others, and so tell nothing of what is accepted."""


@contextmanager
def config_folder(conf: Path) -> Iterator[None]:
    """Compose from this folder as long as the context lasts."""
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        yield


def compose_config(name: str, overrides: list[str]) -> DictConfig:
    """Compose a config, its `hydra` node included.

    Raises:
        InputError: An override cannot be read, or names something that does not exist.
    """
    _check_group_values(parse(overrides))
    try:
        return compose(name, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(_sentence(error, name, overrides)) from error


def compose_reference(name: str, choices: Mapping[str, str | None]) -> DictConfig:
    """Compose the same choice of group options with no value changed: what is there by default."""
    overrides = [
        f"{group}={option}"
        for group, option in choices.items()
        if option is not None and not group.startswith("hydra/") and group not in OVERLAYS
    ]
    return compose(name, overrides)


def group_choices(config: DictConfig) -> dict[str, str | None]:
    """The option that was taken of each config group."""
    return {str(group): option for group, option in config.hydra.runtime.choices.items()}


def without_hydra(config: DictConfig) -> DictConfig:
    """What a job gets of a composed config."""
    job_config = config.copy()
    with open_dict(job_config):
        del job_config["hydra"]
    return job_config


def one_per_job(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, as Hydra's basic sweeper multiplies them out.

    Of two overrides of one key the later one counts.

    Raises:
        InputError: An override cannot be read.
    """
    values = {}
    for override in parse(overrides):
        key = override.get_key_element()
        if override.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif isinstance(interval := override.value(), IntervalSweep):
            values[key] = [f"{key}={interval.start}"]  # stands for those that are drawn
        else:
            values[key] = [str(override.input_line)]
    return [list(job) for job in itertools.product(*values.values())]


def override_keys(overrides: list[str], swept_only: bool = False) -> list[str]:
    """The keys of overrides, as they are typed; those of several values only, if so asked."""
    return [
        override.get_key_element()
        for override in parse(overrides)
        if override.is_sweep_override() or not swept_only
    ]


def quoted(text: str) -> str:
    """A text as a value of Hydra's grammar, whatever signs it has."""
    escaped = text.replace("\\", "\\\\") if text.endswith("\\") else text
    return "'" + escaped.replace("'", "\\'") + "'"


def swept_by_config(config: DictConfig) -> list[str]:
    """What an experiment sweeps by itself, as overrides of the command line would."""
    params = config.hydra.sweeper.get("params") or {}
    return [f"{key}={value}" for key, value in params.items()]


def parse(overrides: list[str]) -> list[Override]:
    """Read overrides by Hydra's grammar.

    Raises:
        InputError: One of them does not follow it.
    """
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    try:
        return parser.parse_overrides(overrides)
    except OverrideParseException as error:
        raise InputError(_unreadable(str(error.override))) from error


LAUNCHER_EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
}
"""Launcher -> the extra of this project that installs it."""

OF_THE_MODEL = ("attention", "encoder", "embedding")
"""Groups that an evaluation takes from the run, whatever is typed."""


def group_options(conf: Path) -> dict[str, list[str]]:
    """The options of each config group, read from the folder: Hydra takes seconds for this."""
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """The closest of the known names as a question, and all of them."""
    known = sorted(known)
    close = get_close_matches(wrong, known, n=1)
    return (f"Did you mean {close[0]}? " if close else "") + f"Known are {', '.join(known)}."


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Say that a key is unknown, with the closest one and what stands beside it."""
    known = list(known)
    parent, _, last = key.rpartition(".")
    siblings = [name.removeprefix(f"{parent}.") for name in known if name.startswith(f"{parent}.")]
    siblings = sorted({name.split(".")[0] for name in (siblings if parent else known)})
    same_name = [name for name in known if name.rpartition(".")[2] == last]
    close = same_name or get_close_matches(key, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    taken = f" {parent or 'The config'} has {', '.join(siblings)}." if siblings else ""
    return f"{key} is no key of the config.{hint}{taken}"


def flat(node: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a plain config by dotted key, groups included; `_target_` and its like not."""
    values: dict[str, Any] = {}
    for key, value in node.items():
        if not str(key).startswith("_"):
            values[f"{prefix}{key}"] = value
            if isinstance(value, Mapping):
                values |= flat(value, f"{prefix}{key}.")
    return values


def unresolved(config: DictConfig) -> dict[Any, Any]:
    """A config as a plain dict, with its interpolations as they are written."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return plain


def _check_group_values(overrides: list[Override]) -> None:
    loader = GlobalHydra.instance().config_loader()
    groups = set(loader.list_groups("")) - {"hydra"}
    for override in overrides:
        if override.key_or_group not in groups or override.is_delete():
            continue
        if not override.is_sweep_override() and not isinstance(override.value(), str):
            options = ", ".join(loader.get_group_options(override.key_or_group))
            or_take = f" or take one of {options}" if options else ""
            raise InputError(f"{override.input_line} is not possible: leave it out{or_take}.")


def _sentence(error: Exception, name: str, overrides: list[str]) -> str:
    message = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if not group:
            return f"There is no config {option}.yaml in the config folder."
        if option in LAUNCHER_EXTRAS and group == "hydra/launcher":
            return (
                f'{group}={option} needs: pip install "attention-atlas[{LAUNCHER_EXTRAS[option]}]".'
            )
        if not error.options:
            return f"{group}={option} does not exist; no option of {group} does."
        return f"{group}={option} does not exist. {did_you_mean(option, error.options)}"
    sweep = re.search(r"(?:for argument|Sweep parameters) '(.*?)'(?:$| requires)", message, re.M)
    if sweep:
        return (
            f"{sweep[1]} holds several values: add -m to run each of them, write "
            "key=[a,b] for a list, or put text with commas into quotes twice: key='\"a,b\"'."
        )
    unknown = re.search(r"Could not override '([^'@]*)'\.\nTo append", message)
    if unknown and name == "evaluate" and unknown[1].split(".")[0] in OF_THE_MODEL:
        return f"{unknown[1]} belongs to the trained model of the run: train another to change it."
    if unknown:
        return unknown_key(unknown[1], _known_keys(name, overrides))
    reasons = [message, *([str(error.__cause__)] if error.__cause__ else [])]
    return (
        ". ".join(reason.strip().splitlines()[0].rstrip(".") for reason in reasons if reason) + "."
    )


def _known_keys(name: str, overrides: list[str]) -> list[str]:
    """Keys and groups that there are with the group options among the overrides."""
    loader = GlobalHydra.instance().config_loader()
    groups = set(loader.list_groups("")) - {"hydra"}
    options = [str(o.input_line) for o in parse(overrides) if o.key_or_group in groups]
    try:
        keys = list(flat(unresolved(compose(name, options))))
    except (ConfigCompositionException, OmegaConfBaseException):
        keys = []
    return keys + sorted(groups - set(keys))


def _unreadable(override: str) -> str:
    if "=" not in override:
        return f"'{override}' is no override: write key=value, as in seed=1."
    key = override.partition("=")[0]
    return (
        f"'{override}' cannot be read: a value with quotes, brackets or one of = , : goes into "
        f"quotes twice, as in {key}='\"the value\"'."
    )
