"""The one place where a config names code that is run."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from attention_atlas.errors import InputError

ALLOWED = (
    "attention_atlas.data.",
    "attention_atlas.pipeline.callbacks.",
    "attention_atlas.tasks.",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.profilers.",
    "torch.optim.",
)


def instantiate(config: DictConfig, **arguments: Any) -> Any:
    """Build what `_target_` names, if the allow list has it.

    Args:
        config: A node with `_target_`; nested nodes are checked too.
        arguments: Passed on beside the node's own values.

    Raises:
        InputError: A target is not on the allow list or does not exist, or what is called later
            (`_partial_`) does not take the values.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    check_targets(plain)
    try:
        built = hydra_instantiate(plain, **arguments, _convert_="all", _recursive_=True)
    except InstantiationException as error:
        if str(error).startswith("Error locating target"):
            raise InputError(f"There is no {str(error).split(chr(39))[1]} to build.") from error
        raise
    if isinstance(built, partial):
        _check_partial(built)
    return built


def check_targets(node: Any, path: str = "") -> None:
    """Check every `_target_` in a plain config.

    Args:
        node: The config or a part of it, resolved.
        path: Its key, as it is typed.

    Raises:
        InputError: A target is not on the allow list.
    """
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if target is not None and not _is_allowed(target):
            raise InputError(
                f"{path or 'config'}._target_={target} is not allowed: configs may only name "
                f"{', '.join(name.rstrip('.') for name in ALLOWED)}."
            )
        for key, value in node.items():
            check_targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            check_targets(value, f"{path}[{index}]")


def _check_partial(built: partial[Any]) -> None:
    """What is called later takes its values, so that this is not found in the midst of a run."""
    accepted = inspect.signature(built.func).parameters
    name = f"{built.func.__module__}.{built.func.__qualname__}"
    open_ended = any(each.kind is each.VAR_KEYWORD for each in accepted.values())
    for key in built.keywords:
        if key not in accepted and not open_ended:
            raise InputError(f"{name} takes no {key}; it takes {', '.join(accepted)}.")
    if name.startswith("torch.optim."):
        _try_optimizer(built, name)


def _try_optimizer(built: partial[Any], name: str) -> None:
    """Build the optimizer once over a parameter of no meaning: it checks its own values."""
    from torch import zeros  # the config is checked without torch

    try:
        built([zeros(1, requires_grad=True)])
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"The optimizer {name} cannot be built: {error}") from error


def _is_allowed(target: Any) -> bool:
    return isinstance(target, str) and any(
        target.startswith(name) if name.endswith(".") else target == name for name in ALLOWED
    )
