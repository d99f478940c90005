"""Where Hydra looks for the sweepers of this project; Optuna is imported when one is used."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ResumableOptunaSweeper(Sweeper):
    """Hydra's sweeper for Optuna, with a study that goes on where it was ended.

    Args:
        options: Those of `hydra.sweeper`.

    Raises:
        ImportError: The extra `sweep` is not installed.
    """

    def __init__(self, **options: Any) -> None:
        try:
            from attention_atlas.pipeline.sweeps.optuna_sweeper import ResumableStudy
        except ImportError as error:
            raise ImportError(
                'hydra/sweeper=optuna needs: pip install "attention-atlas[sweep]"'
            ) from error
        self.study = ResumableStudy(**options)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what jobs are started with."""
        self.study.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are left."""
        self.study.sweep(arguments)
