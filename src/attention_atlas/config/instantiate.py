"""Build the objects that a config names by `_target_`.

Hydra's own `instantiate` resolves interpolations once more before it builds, so that text which was
checked can turn into a node which was not. Here a plain config is built as it was checked.
"""

import inspect
from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig

from attention_atlas.config.allowlist import check_targets, find_target
from attention_atlas.config.plain import resolved
from attention_atlas.errors import InputError

KEYS = ("_target_", "_partial_", "_args_")
"""Keys of Hydra that a node may have beside the arguments of its target."""


def instantiate(config: DictConfig, **arguments: Any) -> Any:
    """Build the object that `_target_` names, if the allow list has it.

    Args:
        config: A node with `_target_`; a profiler of a trainer is built too.
        arguments: Further arguments of the target.

    Raises:
        InputError: A target is not on the allow list or does not exist, or a function that is
            called later (`_partial_`) does not take the arguments.
        InstantiationException: A target does not take the arguments; the cause tells why.
    """
    plain = resolved(config)
    check_targets(plain, config._get_full_key(None))  # OmegaConf has no public way to a node's key
    built = _build(plain, arguments)
    if isinstance(built, partial):
        _check_partial(built)
    return built


def _build(node: Any, arguments: dict[str, Any]) -> Any:
    """Build a plain node from the inside out."""
    if isinstance(node, list):
        return [_build(value, {}) for value in node]
    if not isinstance(node, dict):
        return node
    values = {key: _build(value, {}) for key, value in node.items()}
    if "_target_" not in node:
        return values
    target, is_partial = values.pop("_target_"), values.pop("_partial_", False)
    positional = values.pop("_args_", [])
    for key in values:
        if str(key).startswith("_"):
            raise InputError(f"{key} of {target} is not possible: take {', '.join(KEYS)}.")
    if not isinstance(is_partial, bool) or not isinstance(positional, list):
        raise InputError(f"{target} takes true or false as _partial_, and a list as _args_.")
    code = find_target(target)
    try:
        built = partial(code, *positional, **(values | arguments))
        return built if is_partial else built()
    except InputError:
        raise
    except Exception as error:
        raise InstantiationException(f"{target} cannot be built: {error!r}") from error


def _check_partial(built: partial[Any]) -> None:
    """Check the arguments of a function that is called only after training has started."""
    accepted = inspect.signature(built.func).parameters
    name = f"{built.func.__module__}.{built.func.__qualname__}"
    open_ended = any(each.kind is each.VAR_KEYWORD for each in accepted.values())
    for key in built.keywords:
        if key not in accepted and not open_ended:
            raise InputError(f"{name} takes no {key}; it takes {', '.join(accepted)}.")
