"""Callbacks of a training."""

from attention_atlas.pipeline.callbacks.best_checkpoint import BestCheckpoint
from attention_atlas.pipeline.callbacks.early_stopping_resume import KeepEarlyStop
from attention_atlas.pipeline.callbacks.ema import AveragedWeights
from attention_atlas.pipeline.callbacks.epoch_log import EpochLogger
from attention_atlas.pipeline.callbacks.median_pruning import MedianPruning
from attention_atlas.pipeline.callbacks.nan_guard import NonFiniteLoss
from attention_atlas.pipeline.callbacks.rng_state import RngState
from attention_atlas.pipeline.callbacks.signals import SignalHandler
from attention_atlas.pipeline.callbacks.timing import Timing

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
