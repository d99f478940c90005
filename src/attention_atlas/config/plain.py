"""Configs as plain Python values, to read and to save."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.atlas.locations import is_url
from attention_atlas.errors import InputError
from attention_atlas.run_config import RESOLVER, reading_environment


def flat(node: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a plain config by dotted key, groups included, without `_target_`."""
    values: dict[str, Any] = {}
    for key, value in node.items():
        if not str(key).startswith("_"):
            values[f"{prefix}{key}"] = value
            if isinstance(value, Mapping):
                values |= flat(value, f"{prefix}{key}.")
    return values


def unresolved(config: DictConfig) -> dict[Any, Any]:
    """Return a config as a plain dict, with its interpolations as they are written."""
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return values


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a config node as a plain dict, interpolations resolved."""
    values = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return `plain(config)`, or raise an `InputError` if an interpolation leads nowhere."""
    try:
        return plain(config)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{error.full_key or 'A key'} cannot be resolved: {reason}.") from error


PATHS = ("path", "splits", "tokenizer_path")
"""Options of `data` that name files of the user."""


def absolute_paths(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return an unresolved `data` node whose paths do not depend on the working directory."""
    return {key: _absolute(value) if key in PATHS else value for key, value in data.items()}


def _absolute(path: Any) -> Any:
    if isinstance(path, Mapping):
        return {name: _absolute(each) for name, each in path.items()}
    if not isinstance(path, str) or is_url(path) or path.startswith("~") or "${" in path:
        return path
    return str(Path(path).absolute())


def saved_config(config: DictConfig) -> dict[str, Any]:
    """Return the config as plain values, with `${oc.env:NAME}` where it reads a variable.

    The files of a run are passed on to others, and the value may be a secret, such as a password in
    the address of a logger.
    """
    with reading_environment(lambda name, *default: f"${{{RESOLVER}:{name}}}"):
        return plain(config)
