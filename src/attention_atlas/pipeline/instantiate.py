"""The one place where a config names code that is run."""

from collections.abc import Mapping
from typing import Any

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
        InputError: A target is not on the allow list.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    _check_targets(plain, "")
    return hydra_instantiate(plain, **arguments, _convert_="all", _recursive_=True)


def _check_targets(node: Any, path: str) -> None:
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if target is not None and not _is_allowed(target):
            raise InputError(
                f"{path or 'config'}._target_={target} is not allowed: configs may only name "
                f"{', '.join(name.rstrip('.') for name in ALLOWED)}."
            )
        for key, value in node.items():
            _check_targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _check_targets(value, f"{path}[{index}]")


def _is_allowed(target: Any) -> bool:
    return isinstance(target, str) and any(
        target.startswith(name) if name.endswith(".") else target == name for name in ALLOWED
    )
