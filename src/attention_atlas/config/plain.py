"""Configs as plain Python values, to read and to save."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

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


def saved_config(config: DictConfig) -> dict[str, Any]:
    """Return the config as plain values, with `${oc.env:NAME}` where it reads a variable.

    The files of a run are passed on to others, and the value may be a secret, such as a password in
    the address of a logger.
    """
    with reading_environment(lambda name, *default: f"${{{RESOLVER}:{name}}}"):
        return plain(config)
