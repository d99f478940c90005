"""Compose configs from a folder, and check each of them once. Never imports torch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.config.messages import composition_error
from attention_atlas.config.overrides import Override, group_names, options_of, parse
from attention_atlas.config.plain import unresolved
from attention_atlas.config.validation import check_fixed
from attention_atlas.errors import InputError


@contextmanager
def config_folder(conf: Path) -> Iterator[None]:
    """Compose configs from this folder within the context."""
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        yield


def add_config_folder(folder: Path) -> None:
    """Compose from one more folder from now on, as Hydra does for `--config-dir`.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"--config-dir {folder} is not possible: there is no such folder.")

    class ConfigFolder(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search_path.append("command-line", f"file://{folder.resolve()}")

    Plugins.instance().register(ConfigFolder)


def compose_config(name: str, overrides: list[str]) -> DictConfig:
    """Compose a config, its `hydra` node included.

    Raises:
        InputError: An override cannot be read, or names something that does not exist.
    """
    _check_group_values(parse(overrides))
    try:
        return compose(name, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(composition_error(error, name, overrides)) from error


def group_choices(config: DictConfig) -> dict[str, str | None]:
    """Return the chosen option of each config group."""
    return {str(group): option for group, option in config.hydra.runtime.choices.items()}


def without_hydra(config: DictConfig) -> DictConfig:
    """Return the part of a composed config that a job gets."""
    job_config = config.copy()
    with open_dict(job_config):
        del job_config["hydra"]
    return job_config


def group_options(config: DictConfig) -> dict[str, list[str]]:
    """List the options of each config group of a composed config, without those of Hydra."""
    groups = sorted(set(group_choices(config)) & group_names())
    return {group: options for group in groups if (options := options_of(group))}


def _check_group_values(overrides: list[Override]) -> None:
    """Check that the value of each group is the name of an option."""
    groups = group_names()
    for override in overrides:
        if override.key_or_group not in groups or override.is_delete():
            continue
        if not override.is_sweep_override() and not isinstance(override.value(), str):
            options = ", ".join(options_of(override.key_or_group))
            or_take = f" or take one of {options}" if options else ""
            raise InputError(f"{override.input_line} is not possible: leave it out{or_take}.")


Check = Callable[[DictConfig, Mapping[str, str | None]], None]


class Checker:
    """Checks configs; one that was checked before is not checked again.

    Args:
        checks: Each gets the config and the option of each group, and raises an `InputError`.
    """

    def __init__(self, *checks: Check) -> None:
        self._checks = checks
        self._checked: set[str] = set()

    def check(self, config: DictConfig, choices: Mapping[str, str | None], run_folder: str) -> None:
        """Check the config of a job, without its `hydra` node.

        Hydra knows the folder of a job only when it runs, so `run_folder` is put into the config.
        """
        values = unresolved(config)
        key = repr(values)
        if key in self._checked:
            return
        self._checked.add(key)
        check_fixed(values)
        if "run_folder" in values:
            config.run_folder = run_folder
        try:
            for check in self._checks:
                check(config, choices)
        finally:
            if "run_folder" in values:
                config.run_folder = values["run_folder"]
