"""One LightningModule per modality on one shared base: loss, metrics, optimizer, schedule."""

from attention_atlas.tasks.base import ClassificationTask
from attention_atlas.tasks.image import ImageTask
from attention_atlas.tasks.speech import SpeechTask
from attention_atlas.tasks.text import TextTask

__all__ = ["ClassificationTask", "ImageTask", "SpeechTask", "TextTask"]
