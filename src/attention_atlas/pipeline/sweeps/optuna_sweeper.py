"""A study of Optuna that lies beside its jobs, and goes on where it was ended.

The search itself is that of Hydra's own plugin; what is added is told by `ResumableStudy`.
"""

import logging
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import optuna
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper._impl import (
    OptunaSweeperImpl,
    create_params_from_overrides,
)
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

DIRECTIONS = {"min": "minimize", "max": "maximize"}


class ResumableStudy(OptunaSweeperImpl):
    """Runs the trials that a study lacks.

    A trial that was running when the sweep was ended, or that failed, is tried again with the
    same values, so that its job goes on from its last checkpoint. What is better is what the best
    checkpoint is chosen by.
    """

    def __init__(self, sampler: Any, storage: str, study_name: str, **options: Any) -> None:
        super().__init__(
            sampler=sampler,
            storage=storage,
            study_name=study_name,
            direction="maximize",  # until `setup` knows it
            max_failure_rate=1.0,  # a trial that fails does not end the sweep
            search_space=None,
            custom_search_space=None,
            **options,
        )

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what jobs are started with."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.direction = DIRECTIONS[config.callbacks.checkpoint.mode]

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are left."""
        optuna.logging.set_verbosity(logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            study_name=self.study_name,
            storage=self.storage,
            direction=self.direction,
            load_if_exists=True,
        )
        space, _ = create_params_from_overrides([*self._parse_sweeper_params_config(), *arguments])
        if isinstance(self.sampler, partial):  # a grid: it needs to know the space
            self.sampler = ResumableGrid(self._grid(space), first_trial=len(study.trials))
            self.n_trials = min(self.n_trials, self.sampler.num_points)
        else:
            _try_again(study)
            if study.trials:  # not the values that it drew at first
                self.sampler.reseed_rng()
        self.n_trials -= len(study.get_trials(states=(TrialState.COMPLETE,)))
        if self.n_trials <= 0:
            return
        try:
            super().sweep(arguments)
        except ValueError as error:
            if "No trials are completed" not in str(error):  # then there is no best one to tell
                raise

    def _grid(self, space: dict[str, BaseDistribution]) -> dict[str, Sequence[Any]]:
        return {
            name: self._to_grid_sampler_choices(distribution)
            for name, distribution in space.items()
        }


class ResumableGrid(optuna.samplers.GridSampler):
    """A grid in which points count as done when they gave a value, or were tried in this sweep.

    It never stops the study: the sweep counts its trials itself.

    Args:
        space: The values of each parameter.
        first_trial: Number of the first trial of this sweep.
    """

    def __init__(self, space: dict[str, Sequence[Any]], first_trial: int) -> None:
        super().__init__(space)
        self.first_trial = first_trial

    @property
    def num_points(self) -> int:
        """How many points the grid has."""
        return len(self._all_grids)

    def after_trial(self, *_: Any) -> None:
        """Go on."""

    def _get_unvisited_grid_ids(self, study: optuna.Study) -> list[int]:
        done = {
            trial.system_attrs.get("grid_id")
            for trial in study.get_trials(deepcopy=False)
            if trial.state == TrialState.COMPLETE or trial.number >= self.first_trial
        }
        return [point for point in range(self.num_points) if point not in done]


def _try_again(study: optuna.Study) -> None:
    """Queue the values of each trial that gave none."""
    trials: list[FrozenTrial] = study.get_trials(deepcopy=False)
    settled = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
    for trial in trials:
        if trial.state == TrialState.WAITING:
            settled.append(trial.system_attrs.get("fixed_params", {}))
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
    for trial in trials:
        if trial.state in (TrialState.RUNNING, TrialState.FAIL) and trial.params not in settled:
            study.enqueue_trial(trial.params)
            settled.append(trial.params)
