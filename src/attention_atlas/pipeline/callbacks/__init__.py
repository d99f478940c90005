"""What happens beside the steps of a training."""

from attention_atlas.pipeline.callbacks.averaged_weights import AveragedWeights
from attention_atlas.pipeline.callbacks.best_checkpoint import BestCheckpoint
from attention_atlas.pipeline.callbacks.cost import Cost
from attention_atlas.pipeline.callbacks.ends_on_signal import EndsOnSignal
from attention_atlas.pipeline.callbacks.epoch_lines import EpochLines
from attention_atlas.pipeline.callbacks.median_pruning import MedianPruning
from attention_atlas.pipeline.callbacks.random_states import RandomStates
from attention_atlas.pipeline.callbacks.stays_stopped import StaysStopped
from attention_atlas.pipeline.callbacks.stops_on_non_finite import StopsOnNonFinite

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
