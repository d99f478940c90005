"""Sweeper plugin, in the package that Hydra scans for plugins. Imports Optuna only to sweep."""

import sys
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from attention_atlas.errors import InputError


class OptunaSweeper(Sweeper):
    """Run the trials of an Optuna study as Hydra jobs.

    Args:
        params: Overrides that an experiment sweeps by itself; read from the config.
        trial: Number of the trial that a job belongs to; read by nobody here.
        options: The other options of `hydra.sweeper`, see `Search`.
    """

    def __init__(self, params: Any = None, trial: int | None = None, **options: Any) -> None:
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Create the launcher that runs the jobs."""
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that the study still needs, or exit with an error message."""
        try:
            from attention_atlas.pipeline.sweeps.optuna_sweeper import Search

            assert self.launcher is not None
            assert self.config is not None
            Search(self.launcher, self.config, **self.options).run(arguments)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
