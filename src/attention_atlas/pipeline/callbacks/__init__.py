"""What happens beside the steps of a training."""

from attention_atlas.pipeline.callbacks.best_checkpoint import BestCheckpoint
from attention_atlas.pipeline.callbacks.early_stopping_resume import StaysStopped
from attention_atlas.pipeline.callbacks.ema import AveragedWeights
from attention_atlas.pipeline.callbacks.epoch_log import EpochLines
from attention_atlas.pipeline.callbacks.median_pruning import MedianPruning
from attention_atlas.pipeline.callbacks.nan_guard import StopsOnNonFinite
from attention_atlas.pipeline.callbacks.rng_state import RandomStates
from attention_atlas.pipeline.callbacks.signals import EndsOnSignal
from attention_atlas.pipeline.callbacks.timing import Cost

__all__ = [
    "AveragedWeights",
    "BestCheckpoint",
    "Cost",
    "EndsOnSignal",
    "EpochLines",
    "MedianPruning",
    "RandomStates",
    "StaysStopped",
    "StopsOnNonFinite",
]
