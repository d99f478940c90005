"""Ends the trials of a search that do worse than most did at the same epoch."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from attention_atlas.errors import InputError
from attention_atlas.run_folder import OVERRIDES, read_yaml

STUDY = "study.db"


class MedianPruning(Callback):
    """Ends a trial whose best value so far is worse than the median of earlier trials.

    As Optuna's MedianPruner has it (Golovin et al. 2017, "Google Vizier", section 3.2.2). A trial
    that is ended keeps its best value so far, and is not tested.

    Args:
        run_folder: Of the trial, in that of a sweep with `hydra/sweeper=tpe` or `grid`.
        monitor: Name of the metric that the search is for.
        startup_trials: Trials that are finished before any is ended.
        warmup_epochs: Epochs that each trial gets.
    """

    def __init__(
        self, run_folder: str, monitor: str, startup_trials: int = 5, warmup_epochs: int = 2
    ) -> None:
        self.run_folder = Path(run_folder)
        self.monitor = monitor
        self.startup_trials = startup_trials
        self.warmup_epochs = warmup_epochs
        self.pruned = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch, and end the trial if it is hopeless."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        hopeless = trainer.is_global_zero and self._is_hopeless(
            trainer.current_epoch, float(trainer.callback_metrics[self.monitor])
        )
        answer = torch.tensor(int(hopeless), device=trainer.strategy.root_device)
        if trainer.world_size > 1:
            answer = trainer.strategy.reduce(answer, reduce_op="max")
        if int(answer):
            self.pruned = trainer.should_stop = True

    def _is_hopeless(self, epoch: int, value: float) -> bool:
        import optuna  # of the extra `sweep`

        database = self.run_folder.parent / STUDY
        if not database.is_file():
            raise InputError(
                f"callbacks=pruning needs the study of a search, and {database} is not there: add "
                "-m hydra/sweeper=tpe, or leave it out."
            )
        study = optuna.load_study(
            study_name="sweep",
            storage=f"sqlite:///{database.absolute()}",
            pruner=optuna.pruners.MedianPruner(self.startup_trials, self.warmup_epochs),
        )
        overrides = set(read_yaml(self.run_folder, OVERRIDES))
        running = optuna.trial.TrialState.RUNNING
        for frozen in study.get_trials(deepcopy=False, states=(running,)):
            if {f"{name}={given}" for name, given in frozen.params.items()} <= overrides:
                trial = optuna.trial.Trial(study, frozen._trial_id)
                trial.report(value, epoch)
                return bool(trial.should_prune())
        return False
