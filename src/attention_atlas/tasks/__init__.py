"""The LightningModule of all modalities: model, loss, metrics, optimizer, schedule."""

from attention_atlas.tasks.base import ClassificationTask

__all__ = ["ClassificationTask"]
