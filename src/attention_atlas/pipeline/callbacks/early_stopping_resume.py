"""Early stopping, in a run that is resumed."""

from lightning.pytorch import Callback, LightningModule, Trainer


class StaysStopped(Callback):
    """Does not train on where a run that is resumed had been stopped early."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, if early stopping had run out of patience."""
        callbacks = trainer.early_stopping_callbacks
        if any(each.wait_count >= max(each.patience, 1) for each in callbacks):
            trainer.should_stop = True
