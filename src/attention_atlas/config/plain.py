"""Configs as plain Python values, to read and to save."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
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
    values = unresolved(config)
    try:  # OmegaConf parses each interpolation by a grammar, which takes most of a check
        found: dict[str, Any] = _resolve_keys(values, values)
        return found
    except (LookupError, RecursionError):
        pass
    try:
        return plain(config)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{error.full_key or 'A key'} cannot be resolved: {reason}.") from error
    except RecursionError as error:
        raise InputError("The config cannot be resolved: keys refer to each other.") from error


_KEY = re.compile(r"\$\{([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}", re.ASCII)


def _resolve_keys(value: Any, root: Mapping[Any, Any]) -> Any:
    """Resolve interpolations that are the key of a value, or texts with keys of texts.

    Raises:
        LookupError: There are others, or a value is missing.
    """
    if isinstance(value, dict):
        return {str(key): _resolve_keys(each, root) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolve_keys(each, root) for each in value]
    if value == MISSING:
        raise LookupError
    if not isinstance(value, str) or "${" not in value:
        return value
    whole = _KEY.fullmatch(value)
    if whole:
        return _resolve_keys(_find(whole[1], root), root)
    texts = {key: _resolve_keys(_find(key, root), root) for key in _KEY.findall(value)}
    text = _KEY.sub(lambda found: str(texts[found[1]]), value)
    if "\\" in value or "${" in text or not all(isinstance(each, str) for each in texts.values()):
        raise LookupError
    return text


def _find(key: str, root: Mapping[Any, Any]) -> Any:
    node: Any = root
    for name in key.split("."):
        if not isinstance(node, Mapping):
            raise LookupError
        node = node[name]
    return node


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
