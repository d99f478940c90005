"""Check the names and the values of a config, each by itself."""

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.config.allowlist import check_targets
from attention_atlas.config.messages import flat, unknown_key, unresolved
from attention_atlas.config.validation.schema import RULES, Rule
from attention_atlas.errors import InputError

OPEN = ("data", "augmentation", "optimizer", "schedule", "trainer", "callbacks", "logger")
"""Nodes that are passed on to a class, which may take more keywords than the config lists."""

FIXED = {
    "run_folder": "It follows hydra.run.dir, which may be changed.",
    "task.modality": "It belongs to the task; take another task.",
    "callbacks.checkpoint.dirpath": "The best checkpoint is looked for in the run folder.",
    "callbacks.checkpoint.filename": "The best checkpoint is looked for under that name.",
}
"""Values that other parts count on, and why they stay."""


def check_fixed(config: DictConfig, reference: DictConfig) -> None:
    """Check that values which other parts count on are as they were.

    Raises:
        InputError: One of them was changed.
    """
    given, known = flat(unresolved(config)), flat(unresolved(reference))
    for key, reason in FIXED.items():
        if key in given and key in known and given[key] != known[key]:
            shown = "null" if given[key] is None else given[key]
            raise InputError(f"{key}={shown} is not possible: it stays {known[key]}. {reason}")


def check_keys(config: DictConfig, reference: DictConfig) -> None:
    """No key that nothing reads, and none missing."""
    known = flat(unresolved(reference))
    given = flat(unresolved(config))
    for key in given:
        if key not in known and not _is_open(key, reference):
            raise InputError(unknown_key(key, known))
    for key in known:
        top = key.split(".")[0]
        if key not in given and (top not in OPEN or key == top):
            raise InputError(f"{key} is missing from the config; it cannot be deleted.")


def _is_open(key: str, reference: DictConfig) -> bool:
    top, _, rest = key.partition(".")
    switched_off = top == "capture" and not reference.get(top)  # debug=fast sets num_samples
    is_adapter = key.startswith("encoder.lora.") and "lora" in (reference.get("encoder") or {})
    return bool(rest) and (top in OPEN or switched_off or is_adapter)


def check_values(config: DictConfig, reference: DictConfig) -> None:
    """Each value is of the type of its default and follows its rule."""
    for key in flat(unresolved(config)):
        value, default = _resolved(config, key), _resolved(reference, key)
        rule = RULES.get(key) or _rule_of(default, key)
        if isinstance(default, DictConfig) and isinstance(value, DictConfig):
            continue
        if rule is not None:
            rule.check(key, _unwrapped(value))


def _rule_of(default: Any, key: str) -> Rule | None:
    """What the type of a default tells; a default of null tells nothing."""
    optional = key.split(".")[0] in OPEN and not key.startswith("data.")
    if isinstance(default, DictConfig):
        return Rule("a group of values", (dict,), optional=optional)
    if isinstance(default, ListConfig):
        return Rule("a list, such as [1,2]", (list,), optional=optional)
    if isinstance(default, bool):
        return Rule("true or false", (bool,), optional=optional)
    if isinstance(default, int):
        return Rule("a whole number", (int,), optional=optional)
    if isinstance(default, float):
        return Rule("a number", (int, float), optional=optional)
    return Rule("text", (str,), optional=optional) if isinstance(default, str) else None


def _resolved(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{key} cannot be resolved: {reason}.") from error


def _unwrapped(value: Any) -> Any:
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=False)
    return value


def check_named_classes(config: DictConfig) -> None:
    """Every class or function that the config names is on the allow list."""
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"The config has no value: {str(error).splitlines()[0]}.") from error
    check_targets(plain)
