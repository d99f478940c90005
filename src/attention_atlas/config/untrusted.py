"""Read the config in a run folder, which may come from someone else, without torch.

The file is limited in size and has no aliases, but a few interpolations that refer to each other
can still grow exponentially when they are resolved, so values are counted here.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from attention_atlas.config.allowlist import check_targets
from attention_atlas.config.plain import reading_environment
from attention_atlas.errors import InputError
from attention_atlas.run_folder import CONFIG, is_run, read_yaml, runs_in

MAX_VALUES = 2_000
MAX_COPIES = 1_000  # of one value within another, through interpolations


def _check_texts(run: DictConfig, path: Path) -> None:
    """Check that texts can be printed, and that interpolations do not multiply."""
    texts = list(_texts(OmegaConf.to_container(run, resolve=False)))
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


def _resolved(run: DictConfig, path: Path) -> Any:
    """Return the plain values; None for those that only the run itself could resolve.

    Only `data.path` and `logger` may read environment variables: the first differs between
    machines, the second may be a secret, and the value of neither is saved (`saved_config`).
    """
    key, left = "", MAX_VALUES
    read_as: dict[str, str] = {}

    def read(name: str, *default: Any) -> str | None:
        if key != "data.path" and not key.startswith("logger."):
            read_as.setdefault(name, key)
        return oc.env(name, *default)

    def plain(node: Any, of: str) -> Any:
        nonlocal key, left
        left -= 1
        if left < 0:
            raise InputError(f"{path} holds more than {MAX_VALUES} values, which no run has.")
        if isinstance(node, DictConfig) and not OmegaConf.is_interpolation(node):
            names: list[Any] = list(node)
        elif isinstance(node, ListConfig):
            names = list(range(len(node)))
        else:
            return node
        values: dict[str, Any] = {}
        for name in names:
            key = f"{of}.{name}" if of else str(name)
            try:
                value = node[name]
            except OmegaConfBaseException:  # such as ${hydra:...}
                value = None
            values[str(name)] = plain(value, f"{of}.{name}" if of else str(name))
        return values if isinstance(node, DictConfig) else list(values.values())

    try:
        with reading_environment(read):
            resolved = plain(run, "")
    except RecursionError as error:
        raise InputError(f"{path} refers to itself.") from error
    for name, where in read_as.items():
        raise InputError(
            f"{path} reads the environment variable {name} as {where}. Of a run only data.path "
            "and logger may: write the value into the file."
        )
    return resolved


def read_run_config(folder: Path) -> DictConfig:
    """Read the composed config of a run.

    Raises:
        InputError: The folder is not one of a run, or its config cannot be read, is too large,
            would grow without end, names code that is not allowed, or reads environment variables.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"run={folder} {what}; give the folder of a run: outputs/<task>/<time>.")
    if not is_run(folder):
        runs = [run for run in runs_in(folder) if is_run(run)]
        inside = f" It holds runs: take {runs[-1]}, for example." if runs else ""
        raise InputError(f"run={folder} is not a run folder: it has no {CONFIG}.{inside}")
    path, run = folder / CONFIG, read_yaml(folder, CONFIG)
    if not isinstance(run, DictConfig):
        raise InputError(f"{path} is not the config of a run: it holds no names with values.")
    _check_texts(run, path)
    values = _resolved(run, path)
    check_targets(values)
    if not all(isinstance(values.get(name), dict) for name in ("task", "data", "trainer")):
        raise InputError(
            f"run={folder} is not the folder of a training run: its {CONFIG} has no task, data, "
            "trainer."
        )
    return run
