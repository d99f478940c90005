"""The shared attention module. It needs torch and nothing else."""

from attention_atlas.attention.functional import attend, attention_map
from attention_atlas.attention.module import Attention
from attention_atlas.attention.recording import Call, Recording, record
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

__all__ = [
    "SCORES",
    "Additive",
    "Attention",
    "Call",
    "Cosine",
    "Dot",
    "Multiplicative",
    "ProductScore",
    "Recording",
    "ScaledDot",
    "Score",
    "attend",
    "attention_map",
    "build_score",
    "record",
]
