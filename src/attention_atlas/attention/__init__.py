"""The shared attention module. It needs torch and jaxtyping only."""

from attention_atlas.attention.functional import attend, attention_map
from attention_atlas.attention.linear import Hedgehog
from attention_atlas.attention.module import Attention
from attention_atlas.attention.recorded_call import Call
from attention_atlas.attention.recording import Recording, record
from attention_atlas.attention.scores import (
    SCORES,
    Additive,
    Cosine,
    Dot,
    Multiplicative,
    ProductScore,
    ScaledDot,
    Score,
    build_score,
)
from attention_atlas.attention.statistics import (
    STATISTICS,
    Distance,
    Rollout,
    SinkShare,
    Statistic,
)

__all__ = [
    "SCORES",
    "STATISTICS",
    "Additive",
    "Attention",
    "Call",
    "Cosine",
    "Distance",
    "Dot",
    "Hedgehog",
    "Multiplicative",
    "ProductScore",
    "Recording",
    "Rollout",
    "ScaledDot",
    "Score",
    "SinkShare",
    "Statistic",
    "attend",
    "attention_map",
    "build_score",
    "record",
]
