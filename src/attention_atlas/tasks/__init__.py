"""One LightningModule per modality on one shared base: loss, metrics, optimizer, schedule."""

from attention_atlas.tasks.base import ClassificationTask

__all__ = ["ClassificationTask"]
