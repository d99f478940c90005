"""Compose the configs of jobs as Hydra will; those that differ in plain values share one.

Hydra takes a tenth of a second for a config. So of the jobs of a multirun it composes one for each
choice of groups, and the values of the others are replaced in it. Never imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from attention_atlas.config.compose import compose_config, without_hydra
from attention_atlas.config.overrides import Override, group_names, parse


@dataclass(frozen=True)
class JobConfig:
    """The config of a job, until the next one is composed.

    Attributes:
        whole: With its `hydra` node.
        config: The part that the job gets.
    """

    whole: DictConfig
    config: DictConfig


def compose_job(name: str, overrides: list[str]) -> JobConfig:
    """Compose the config of a single run as Hydra will.

    Raises:
        InputError: An override cannot be read, or names something that does not exist.
    """
    whole = compose_config(name, overrides)
    HydraConfig.instance().set_config(whole)
    return JobConfig(whole, without_hydra(whole))


class JobComposer:
    """Composes the configs of a multirun as Hydra will.

    Args:
        name: The main config.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._groups = group_names()
        self._composed: dict[tuple[str, ...], JobConfig] = {}
        self._parse = cache(lambda line: parse([line])[0])

    def compose(self, lines: list[str], number: int) -> JobConfig:
        """Compose the config of a job from its overrides; `number` is its index.

        Raises:
            InputError: An override cannot be read, or names something that does not exist.
        """
        overrides = [self._parse(line) for line in lines]
        values = self._plain_values(overrides)
        # The lines of all jobs that share a config, but for these values.
        key = tuple(
            override.key_or_group if override.key_or_group in values else line
            for line, override in zip(lines, overrides, strict=True)
        )
        job = self._composed.get(key)
        if job is None or not _replace(job, values):
            whole = compose_config(self._name, lines)
            job = self._composed[key] = JobConfig(whole, without_hydra(whole))
        _set_hydra(job.whole, overrides, number)
        return job

    def _plain_values(self, overrides: list[Override]) -> dict[str, Any]:
        """Return the values of the overrides that set a single value, whatever the others do."""
        keys = [override.key_or_group for override in overrides]
        return {
            override.key_or_group: override.value()
            for override in overrides
            if not (override.is_add() or override.is_force_add() or override.is_delete())
            if override.package is None and isinstance(override.value(), str | int | float | None)
            if override.key_or_group not in self._groups and not override.is_hydra_override()
            if keys.count(override.key_or_group) == 1
            if not any(_overlap(override.key_or_group, key) for key in keys)
        }


def _overlap(key: str, other: str) -> bool:
    """Whether one of two different keys is within the other."""
    return key.startswith(f"{other}.") or other.startswith(f"{key}.")


def _replace(job: JobConfig, values: Mapping[str, Any]) -> bool:
    """Replace values in a config; False if one does not fit, which Hydra reports."""
    try:
        for key, value in values.items():
            OmegaConf.update(job.whole, key, value)
            OmegaConf.update(job.config, key, value)
    except OmegaConfBaseException:
        return False
    return True


def _set_hydra(config: DictConfig, overrides: list[Override], number: int) -> None:
    """Set what Hydra knows of a job, and let `${hydra:...}` read it."""
    job, directory = config.hydra.job, config.hydra.job.config.override_dirname
    lines = [each.input_line for each in overrides if not each.is_hydra_override()]
    config.hydra.overrides.task = lines
    shown = sorted(
        str(each.input_line)
        for each in overrides
        if not each.is_hydra_override() and each.key_or_group not in directory.exclude_keys
    )
    job.override_dirname = directory.item_sep.join(shown).replace("=", directory.kv_sep)
    job.num, job.id = number, f"job_id_for_{number}"
    # Not by `set_config`, which copies the node.
    HydraConfig.instance().cfg = config  # type: ignore[assignment]
