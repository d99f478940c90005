"""Overrides of the command line, by Hydra's grammar. Never imports torch.

Hydra documents neither its parser of overrides nor its list of config groups. This file is the only
one that uses them.
"""

import itertools

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.core.override_parser.types import IntervalSweep as IntervalSweep
from hydra.core.override_parser.types import Override as Override
from hydra.core.override_parser.types import RangeSweep as RangeSweep
from hydra.core.override_parser.types import Transformer as Transformer
from hydra.errors import OverrideParseException
from omegaconf import DictConfig

from attention_atlas.errors import InputError


def one_per_job(overrides: list[str]) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in the order of Hydra's basic sweeper.

    If a key is overridden twice, the later value counts.

    Raises:
        InputError: An override cannot be read.
    """
    values = {}
    for override in parse(overrides):
        key = override.get_key_element()
        if override.is_discrete_sweep():
            if isinstance(override.value(), Glob) and key not in group_names():
                raise InputError(
                    f"{override.input_line} is not possible: glob takes options of a group, and "
                    f"{key} is a value. Take {key}=1,2 or {key}=range(3)."
                )
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif isinstance(interval := override.value(), IntervalSweep):
            values[key] = [f"{key}={interval.start}"]  # in place of the values that are drawn
        else:
            values[key] = [str(override.input_line)]
    return [list(job) for job in itertools.product(*values.values())]


def override_keys(overrides: list[str], swept_only: bool = False) -> list[str]:
    """Return the keys of overrides, as they are typed, optionally of those with several values."""
    return [
        override.get_key_element()
        for override in parse(overrides)
        if override.is_sweep_override() or not swept_only
    ]


def quoted(text: str) -> str:
    """Quote a text of any characters as a value of Hydra's grammar."""
    escaped = text.replace("\\", "\\\\") if text.endswith("\\") else text
    return "'" + escaped.replace("'", "\\'") + "'"


def swept_by_config(config: DictConfig) -> list[str]:
    """Return what an experiment sweeps by itself, as overrides."""
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


def group_names() -> set[str]:
    """Return the names of the config groups, without those of Hydra."""
    return set(GlobalHydra.instance().config_loader().list_groups("")) - {"hydra"}


def options_of(group: str) -> list[str]:
    """Return the names of the options of a config group."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def _unreadable(override: str) -> str:
    if "=" not in override:
        return f"'{override}' is not an override: write key=value, as in seed=1."
    key = override.partition("=")[0]
    return (
        f"'{override}' cannot be read: a value with quotes, brackets or one of = , : goes into "
        f"quotes twice, as in {key}='\"the value\"'."
    )
