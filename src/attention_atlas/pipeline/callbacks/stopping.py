"""Callbacks that end a training: on a signal, a loss that is not finite, or without progress."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from attention_atlas.errors import InputError
from attention_atlas.interrupts import SIGNALS, Interrupted, discard_terminal, install
from attention_atlas.pipeline.distributed.cluster import is_first
from attention_atlas.run_folder import LAST

SAVING_SIGNALS = (*SIGNALS, "SIGUSR1", "SIGUSR2")
"""Those of every command, and those of SLURM and submitit before the time limit."""


class SignalHandler(Callback):
    """Saves a checkpoint after the current step and ends, when a signal asks for it.

    A second ctrl-C ends at once. Several ranks agree every few steps, so that all save after the
    same one. A test has nothing to save and ends at once.

    Lightning installs handlers of its own before the hooks below run, and restores the earlier ones
    at the end, also after an error. Its own would wait for the other ranks.

    Args:
        folder: The folder of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.checkpoint = folder / LAST
        self._received = 0
        self._batches = 0
        self._global_step = 0

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers for a training."""
        install(self._receive, SAVING_SIGNALS)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers for a training without a sanity check."""
        install(self._receive, SAVING_SIGNALS)
        self._global_step = trainer.global_step

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers for a test."""
        install(self._end, SAVING_SIGNALS)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Save and end, if a signal was received."""
        self._batches += 1
        stepped = trainer.global_step > self._global_step  # accumulated gradients are not saved
        self._global_step = trainer.global_step
        number = self._agreed(trainer)
        if number and stepped:
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted(number, self.checkpoint)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End, if a signal was received in the last step; the last epoch was saved."""
        if self._received:
            raise Interrupted(self._received, self.checkpoint)

    def _end(self, number: int, _: Any) -> None:
        if number == signal.SIGHUP:
            discard_terminal()
        raise Interrupted(number, self.checkpoint if self.checkpoint.is_file() else None)

    def _receive(self, number: int, _: Any) -> None:
        if number == signal.SIGHUP:
            discard_terminal()
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number
        if is_first() and number == signal.SIGINT:
            print("\nsaving after this step; ctrl-C again leaves at once", file=sys.stderr)

    def _agreed(self, trainer: Trainer) -> int:
        """Return the signal that any rank has received, 0 for none."""
        if trainer.world_size == 1:
            return self._received
        if self._batches % trainer.log_every_n_steps and self._batches > 1:  # type: ignore[attr-defined]
            return 0
        received = torch.tensor(self._received, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(received, reduce_op="max"))


class NonFiniteLoss(Callback):
    """Ends a training whose loss became NaN or infinite, before a checkpoint is saved.

    On a GPU the losses are checked every few steps, because each check waits for the device.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, float, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Collect the loss of a step."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._losses.append((trainer.global_step, rate, loss.detach()))
        every = 1 if loss.device.type == "cpu" else trainer.log_every_n_steps  # type: ignore[attr-defined]
        if len(self._losses) >= every:
            self._check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the remaining losses before a checkpoint is saved."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        losses, self._losses = self._losses, []
        if not losses or bool(torch.isfinite(torch.stack([loss for *_, loss in losses])).all()):
            return
        step, rate, loss = next(entry for entry in losses if not torch.isfinite(entry[2]))
        raise InputError(
            f"The loss became {float(loss)} at step {step} (epoch {trainer.current_epoch + 1}), at "
            f"a learning rate of {rate:.3g}: lower optimizer.lr, raise schedule.warmup, or look "
            "at the data."
        )


class KeepEarlyStop(Callback):
    """Ends a resumed run at once if early stopping had run out of patience before."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if the restored early stopping has no patience left."""
        callbacks = trainer.early_stopping_callbacks
        if any(each.wait_count >= max(each.patience, 1) for each in callbacks):
            trainer.should_stop = True


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
