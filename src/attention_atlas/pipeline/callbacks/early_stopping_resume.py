"""Early stopping in a resumed run."""

from lightning.pytorch import Callback, LightningModule, Trainer


class KeepEarlyStop(Callback):
    """Ends a resumed run at once if early stopping had run out of patience before."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if the restored early stopping has no patience left."""
        callbacks = trainer.early_stopping_callbacks
        if any(each.wait_count >= max(each.patience, 1) for each in callbacks):
            trainer.should_stop = True
