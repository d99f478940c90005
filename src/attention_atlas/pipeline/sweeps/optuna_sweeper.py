"""Search by Optuna: each trial is a job of the sweep, and its study lies beside the jobs."""

import itertools
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import optuna
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from attention_atlas.config.overrides import (
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
    parse,
    swept_by_config,
)
from attention_atlas.errors import InputError

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"min": "minimize", "max": "maximize"}

Space = dict[str, BaseDistribution]
Params = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass
class Search:
    """Ask a study for values, run them as jobs, and tell it the results.

    The objective is the metric that the best checkpoint is chosen by. A trial that failed, or that
    was running when an earlier sweep was killed, is repeated with the same values, so that its job
    resumes from its last checkpoint.

    Args:
        launcher: Runs the jobs of a batch.
        config: The config of the sweep, with the node `hydra`.
        sampler: Draws the values; with None each combination of values is tried once.
        n_trials: Number of trials that give a value, over all runs of the sweep.
        n_jobs: Number of trials in a batch.
        storage: URL of the database, as SQLAlchemy reads it.
        study_name: Name of the study in the database.
    """

    launcher: Launcher
    config: DictConfig
    _: KW_ONLY
    sampler: optuna.samplers.BaseSampler | None
    n_trials: int
    n_jobs: int
    storage: str
    study_name: str

    def run(self, arguments: Sequence[str]) -> None:
        """Run the trials that the study still needs.

        Args:
            arguments: Overrides of the command line.

        Raises:
            InputError: An override cannot be searched over, or the study cannot be read.
        """
        fixed, swept = split_overrides([*swept_by_config(self.config), *arguments])
        study = self._open_study()
        complete = [trial.params for trial in study.get_trials(states=(TrialState.COMPLETE,))]
        remaining = self.n_trials - len(complete)
        if self.sampler is None:
            values = grid(swept)
            space: Space = {key: CategoricalDistribution(each) for key, each in values.items()}
            points = itertools.product(*values.values())  # the last parameter changes fastest
            queue = _without(complete, (dict(zip(swept, each, strict=True)) for each in points))
            remaining = min(remaining, len(queue))
        else:
            space = {key: distribution(override) for key, override in swept.items()}
            failed = study.get_trials(states=(TrialState.FAIL,))
            queue = _without(complete, (trial.params for trial in failed))
            if study.trials:  # do not draw the first values a second time
                self.sampler.reseed_rng()
        first_job = 0
        while remaining > 0:
            trials = [_ask(study, space, queue) for _ in range(min(self.n_jobs, remaining))]
            overrides = [[*fixed, *_overrides(trial)] for trial in trials]
            results = self.launcher.launch(overrides, initial_job_idx=first_job)
            for trial, result in zip(trials, results, strict=True):
                _tell(study, trial, result)
            first_job += len(trials)
            remaining -= len(trials)

    def _open_study(self) -> optuna.Study:
        optuna.logging.set_verbosity(logging.WARNING)
        try:
            study = optuna.create_study(
                study_name=self.study_name,
                storage=self.storage,
                sampler=self.sampler,
                direction=DIRECTIONS[self.config.callbacks.checkpoint.mode],
                load_if_exists=True,
            )
        except RuntimeError as error:  # another schema of the database
            raise InputError(
                f"{self.storage} cannot be used by Optuna {optuna.__version__}: another version "
                "made it. Start the search again, with sweep.resume=false and a folder or storage "
                "of its own."
            ) from error
        for trial in study.get_trials(states=(TrialState.RUNNING,)):  # of a killed sweep
            study.tell(trial.number, state=TrialState.FAIL)
        return study


def split_overrides(arguments: list[str]) -> tuple[list[str], dict[str, Override]]:
    """Separate overrides with one value from those that are searched over, by key.

    If a key is overridden twice, the later value counts.
    """
    overrides = {override.get_key_element(): override for override in parse(arguments)}
    swept = {key: each for key, each in overrides.items() if each.is_sweep_override()}
    return [str(each.input_line) for key, each in overrides.items() if key not in swept], swept


def distribution(override: Override) -> BaseDistribution:
    """Build the distribution of a choice, a range (both ends included) or an interval.

    Raises:
        InputError: Optuna cannot draw from it.
    """
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _numbers(value.start, value.end, log="log" in value.tags)
        if isinstance(value, RangeSweep) and not value.shuffle:
            return _numbers(value.start, value.stop, step=value.step)
        return CategoricalDistribution(_values(override))
    except ValueError as error:
        raise InputError(f"{override.input_line} cannot be searched over: {error}") from error


def _numbers(
    low: Any, high: Any, step: float | None = None, log: bool = False
) -> IntDistribution | FloatDistribution:
    if all(isinstance(number, int) for number in (low, high, step or 1)):
        return IntDistribution(low, high, step=int(step or 1), log=log)
    return FloatDistribution(low, high, step=step, log=log)


def grid(swept: dict[str, Override]) -> dict[str, list[Any]]:
    """List the values of each override that is swept.

    Raises:
        InputError: An interval has no list of values.
    """
    for override in swept.values():
        if override.is_interval_sweep():
            raise InputError(
                f"{override.input_line} has no list of values, as hydra/sweeper=grid needs: take "
                "values or a range, or hydra/sweeper=tpe."
            )
    return {key: _values(override) for key, override in swept.items()}


def _values(override: Override) -> list[Any]:
    """List values that a database can store: numbers as they are, all else as text."""
    return [
        value if isinstance(value, bool | int | float) else Transformer.str(value)
        for value in override.sweep_iterator()
    ]


def _without(complete: list[Params], candidates: Iterable[Params]) -> list[Params]:
    """List the candidates that are not complete, each once."""
    queue: list[Params] = []
    for params in candidates:
        if params not in complete and params not in queue:
            queue.append(params)
    return queue


def _ask(study: optuna.Study, space: Space, queue: list[Params]) -> optuna.Trial:
    """Start a trial: with the next values of the queue, or as the sampler draws them."""
    if queue:
        study.enqueue_trial(queue.pop(0))
    return study.ask(space)


def _overrides(trial: optuna.Trial) -> list[str]:
    values = [f"{key}={value}" for key, value in trial.params.items()]
    return [*values, f"hydra.sweeper.trial={trial.number}"]


def _tell(study: optuna.Study, trial: optuna.Trial, result: JobReturn) -> None:
    try:
        value = result.return_value
    except Exception as error:  # raised in the job, or by a launcher that lost it
        log.warning("the job of trial %d failed: %s", trial.number, error)
        value = None
    if value is None or math.isnan(value):
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, value)
