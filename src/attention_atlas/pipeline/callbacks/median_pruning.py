"""End the trials of a search that are worse than the median at the same epoch."""

from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from attention_atlas.errors import InputError

if TYPE_CHECKING:
    import optuna


class MedianPruning(Callback):
    """End a trial whose best value so far is worse than the median of earlier trials.

    Optuna's MedianPruner decides (Golovin et al. 2017, "Google Vizier", section 3.2.2). The result
    of a trial that is ended is its best value so far; it is not tested.

    Args:
        storage: URL of the database of the study, as `hydra.sweeper.storage`.
        study_name: Name of the study in it.
        trial: Number of the trial that this training is.
        monitor: Name of the metric that the search optimizes.
        startup_trials: Number of finished trials before the first one is ended.
        warmup_epochs: Number of epochs that every trial gets.

    Attributes:
        pruned: Whether the trial was ended.
    """

    def __init__(
        self,
        storage: str | None,
        study_name: str | None,
        trial: int | None,
        monitor: str,
        startup_trials: int = 5,
        warmup_epochs: int = 2,
    ) -> None:
        if storage is None or study_name is None or trial is None:
            raise InputError(
                "callbacks=pruning needs the study of a search: add -m hydra/sweeper=tpe, or leave "
                "it out."
            )
        self.storage = storage
        self.study_name = study_name
        self.trial_number = trial
        self.monitor = monitor
        self.startup_trials = startup_trials
        self.warmup_epochs = warmup_epochs
        self.pruned = False
        self._trial: optuna.Trial | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch, and end the trial if the pruner says so."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        should_prune = trainer.is_global_zero and self._should_prune(
            trainer.current_epoch, float(trainer.callback_metrics[self.monitor])
        )
        answer = torch.tensor(int(should_prune), device=trainer.strategy.root_device)
        if trainer.world_size > 1:
            answer = trainer.strategy.reduce(answer, reduce_op="max")
        if int(answer):
            self.pruned = trainer.should_stop = True

    def _should_prune(self, epoch: int, value: float) -> bool:
        self._trial = self._trial or self._open_trial()
        self._trial.report(value, epoch)
        return self._trial.should_prune()

    def _open_trial(self) -> "optuna.Trial":
        """Open the trial in the database, which the process of the sweep has created."""
        import optuna  # from the extra `sweep`

        storage = optuna.storages.RDBStorage(self.storage)
        study = optuna.load_study(
            study_name=self.study_name,
            storage=storage,
            pruner=optuna.pruners.MedianPruner(self.startup_trials, self.warmup_epochs),
        )
        study_id = storage.get_study_id_from_name(self.study_name)
        number = storage.get_trial_id_from_study_id_trial_number(study_id, self.trial_number)
        return optuna.Trial(study, number)
