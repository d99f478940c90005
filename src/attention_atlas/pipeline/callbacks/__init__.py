"""Callbacks of a training."""

from attention_atlas.pipeline.callbacks.best_checkpoint import BestCheckpoint
from attention_atlas.pipeline.callbacks.progress import EpochBar, EpochLogger, Timing
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
    "EpochBar",
    "EpochLogger",
    "KeepEarlyStop",
    "MedianPruning",
    "NonFiniteLoss",
    "RngState",
    "SignalHandler",
    "Timing",
]
