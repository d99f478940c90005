"""Compose the config of each job and check it, each config once."""

from collections.abc import Callable, Mapping

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from attention_atlas.config.compose import compose_config
from attention_atlas.config.validation import check_fixed

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
        """Check the config of a job.

        Args:
            config: As composed, without the `hydra` node.
            choices: The option of each group.
            run_folder: The folder of the job, which Hydra knows only when the job runs.

        Raises:
            InputError: Something cannot be used.
        """
        key = OmegaConf.to_yaml(config, resolve=False)
        if key in self._checked:
            return
        self._checked.add(key)
        check_fixed(config)
        config = config.copy()
        if "run_folder" in config:
            config.run_folder = run_folder
        for check in self._checks:
            check(config, choices)


def compose_job(name: str, overrides: list[str], number: int | None = None) -> DictConfig:
    """Compose the config of a job as Hydra is going to, its `hydra` node included.

    Args:
        name: The main config.
        overrides: Those of the job.
        number: Index of the job in a multirun; None for a single run.
    """
    config = compose_config(name, overrides)
    if number is not None:
        config.hydra.job.num, config.hydra.job.id = number, f"job_id_for_{number}"
    HydraConfig.instance().set_config(config)
    return config
