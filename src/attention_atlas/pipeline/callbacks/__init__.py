"""Callbacks of a training."""

from attention_atlas.pipeline.callbacks.best_checkpoint import BestCheckpoint
from attention_atlas.pipeline.callbacks.progress import EpochLogger, Timing
from attention_atlas.pipeline.callbacks.state import AveragedWeights, RngState
from attention_atlas.pipeline.callbacks.stopping import (
    KeepEarlyStop,
    MedianPruning,
    NonFiniteLoss,
    SignalHandler,
)

__all__ = [
    "AveragedWeights",
    "BestCheckpoint",
    "EpochLogger",
    "KeepEarlyStop",
    "MedianPruning",
    "NonFiniteLoss",
    "RngState",
    "SignalHandler",
    "Timing",
]
