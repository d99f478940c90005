"""Environment variables in configs, whose values are not saved.

A config may take a value from a variable, such as a password in the address of a logger. The files
of a run are passed on to others, so they hold the name of the variable instead of its value.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

RESOLVER = "oc.env"


def saved_config(config: DictConfig) -> dict[str, Any]:
    """Return the config as plain values, with `${oc.env:NAME}` where it reads a variable."""
    with reading_environment(lambda name, *default: f"${{{RESOLVER}:{name}}}"):
        plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextmanager
def reading_environment(read: Callable[..., str | None]) -> Iterator[None]:
    """Read environment variables by a function of the caller within the context.

    Args:
        read: Gets the name and, if the config has one, the default.
    """
    OmegaConf.register_new_resolver(RESOLVER, read, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver(RESOLVER, oc.env, replace=True)
