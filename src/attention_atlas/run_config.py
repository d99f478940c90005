"""The config in a run folder, which may come from someone else. Never imports torch.

The file is limited in size and has no aliases, but a few interpolations that refer to each other
can still grow exponentially when they are resolved, so values are counted here.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from attention_atlas.atlas.locations import Location, join
from attention_atlas.errors import InputError
from attention_atlas.run_folder import CONFIG, read_yaml

MAX_VALUES = 2_000
MAX_COPIES = 1_000  # of one value within another, through interpolations
RESOLVER = "oc.env"


def read_config(run: Location) -> tuple[DictConfig, dict[str, Any]] | None:
    """Return the composed config of a run as it is written, and its plain values; None without one.

    Values that only the run itself could resolve are None among the plain ones.

    Raises:
        InputError: The file cannot be read, is too large, would grow without end, or reads
            environment variables.
    """
    path, config = str(join(run, CONFIG)), read_yaml(run, CONFIG)
    if config is None:
        return None
    if not isinstance(config, DictConfig):
        raise InputError(f"{path} is not the config of a run: it holds no names with values.")
    _check_texts(config, path)
    return config, _Resolver(path).resolve(config)


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


def _check_texts(config: DictConfig, path: str) -> None:
    """Check that texts can be printed, and that interpolations do not multiply."""
    texts = list(_texts(OmegaConf.to_container(config, resolve=False)))
    for text in texts:
        if not all(letter.isprintable() or letter in "\n\t" for letter in text):
            raise InputError(f"{path} holds {text!r}, which a terminal would take for commands.")
    if math.prod(max(text.count("${"), 1) for text in texts) > MAX_COPIES:
        raise InputError(f"{path} puts values together from too many others.")


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node


class _Resolver:
    """Resolves a config value by value, within bounds.

    Only `data.path` and `logger` may read environment variables: the first differs between
    machines, the second may be a secret, and the value of neither is saved (`saved_config`).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._key = ""  # of the value that is being resolved
        self._refused = ""
        self._left = MAX_VALUES

    def resolve(self, config: DictConfig) -> dict[str, Any]:
        """Return the plain values."""
        try:
            with reading_environment(self._read_variable):
                values: dict[str, Any] = self._plain(config, "")
        except RecursionError as error:
            raise InputError(f"{self._path} refers to itself.") from error
        if self._refused:
            raise InputError(self._refused)
        return values

    def _read_variable(self, name: str, *default: Any) -> str | None:
        # An error from here would count as a value that cannot be resolved.
        if self._key != "data.path" and not self._key.startswith("logger."):
            self._refused = self._refused or (
                f"{self._path} reads the environment variable {name} as {self._key}. In the config "
                "of a run only data.path and logger may read one: write the value into the file."
            )
        return oc.env(name, *default)

    def _plain(self, node: Any, key: str) -> Any:
        self._left -= 1
        if self._left < 0:
            raise InputError(f"{self._path} holds more than {MAX_VALUES} values: no run has them.")
        if isinstance(node, DictConfig) and not OmegaConf.is_interpolation(node):
            return {str(name): self._plain(*self._item(node, name, key)) for name in node}
        if isinstance(node, ListConfig):
            return [self._plain(*self._item(node, index, key)) for index in range(len(node))]
        return node

    def _item(self, node: Any, name: Any, key: str) -> tuple[Any, str]:
        """Return an item of a node, and its key; None for one that only the run could resolve."""
        self._key = f"{key}.{name}" if key else str(name)
        try:
            return node[name], self._key
        except OmegaConfBaseException:  # such as ${hydra:...}
            return None, self._key
