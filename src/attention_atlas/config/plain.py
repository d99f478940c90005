"""Configs as plain Python values."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.errors import InputError


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
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return plain


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a config node as a plain dict, interpolations resolved."""
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def resolved(config: DictConfig) -> dict[str, Any]:
    """The config as plain values.

    Raises:
        InputError: An interpolation leads nowhere.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{error.full_key or 'A key'} cannot be resolved: {reason}.") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
