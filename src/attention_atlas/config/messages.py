"""Error messages about configs that cannot be composed."""

import re
from difflib import get_close_matches
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import compose
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.config.overrides import group_names, options_of, parse
from attention_atlas.config.plain import flat, unresolved
from attention_atlas.config.validation.schema import TrainConfig, schema_of
from attention_atlas.option_schema import described_options, unknown_key

LAUNCHER_EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
}
"""Launcher -> the extra of this project that installs it."""

MODEL_GROUPS = ("attention", "encoder", "embedding")
"""Groups that an evaluation always takes from the run."""


def composition_error(error: Exception, name: str, overrides: list[str]) -> str:
    """Explain an error of Hydra or OmegaConf: what is wrong, and what is allowed."""
    message = str(error)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: {error.problem}."
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if not group:
            return f"There is no config {option}.yaml in the config folder."
        if option in LAUNCHER_EXTRAS and group == "hydra/launcher":
            return (
                f'{group}={option} needs: pip install "attention-atlas[{LAUNCHER_EXTRAS[option]}]".'
            )
        options = sorted(error.options or options_of(group))
        close = get_close_matches(option, options, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        known = ", ".join(options)
        return f"{group}={option} does not exist.{hint} Known are {known}."
    sweep = re.search(r"(?:for argument|Sweep parameters) '(.*?)'(?:$| requires)", message, re.M)
    if sweep:
        return (
            f"{sweep[1]} holds several values: add -m to run each of them, write "
            "key=[a,b] for a list, or put text with commas into quotes twice: key='\"a,b\"'."
        )
    unknown = re.search(r"Could not override '([^'@]*)'\.(\nTo append| No match in the)", message)
    if unknown and name == "evaluate" and unknown[1].split(".")[0] in MODEL_GROUPS:
        return f"{unknown[1]} belongs to the trained model of the run: train another to change it."
    if unknown and unknown[1] in group_names():
        accepted = ", ".join(sorted(_accepted_groups(name)))
        return f"{unknown[1]} cannot be chosen in `atlas {name}`; its groups are {accepted}."
    if unknown:
        config = _config_of_groups(name, overrides)
        if name == "train" and unknown[1] in described_options(schema_of(TrainConfig, config)):
            return f"{unknown[1]} is not in the config yet: add it by +{unknown[1]}=VALUE."
        groups = _accepted_groups(name)
        return unknown_key(unknown[1], [*flat(config), *sorted(groups - config.keys())])
    reasons = [message, *([str(error.__cause__)] if error.__cause__ else [])]
    return (
        ". ".join(reason.strip().splitlines()[0].rstrip(".") for reason in reasons if reason) + "."
    )


def _accepted_groups(name: str) -> set[str]:
    """Return the groups in the defaults list of a command."""
    config = compose(name, return_hydra_config=True)
    return group_names() & {str(group) for group in config.hydra.runtime.choices}


def _config_of_groups(name: str, overrides: list[str]) -> dict[str, Any]:
    """Compose a config with those overrides that choose the option of a group, or without any."""
    groups = group_names()
    options = [str(o.input_line) for o in parse(overrides) if o.key_or_group in groups]
    try:
        return unresolved(compose(name, options))
    except (ConfigCompositionException, OmegaConfBaseException):
        return unresolved(compose(name))
