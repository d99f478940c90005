"""Tokens in, pooled vector out: embeddings, the Transformer encoder and its readout."""

from attention_atlas.encoder.classifier import Classifier
from attention_atlas.encoder.embeddings import (
    Embedding,
    PatchEmbedding,
    SpectrogramEmbedding,
    TextEmbedding,
)
from attention_atlas.encoder.readout import (
    AttentionReadout,
    ClsReadout,
    FirstReadout,
    MeanReadout,
    Readout,
    make_readout,
)
from attention_atlas.encoder.tokens import TokenLayout, Tokens
from attention_atlas.encoder.transformer import TransformerEncoder

__all__ = [
    "AttentionReadout",
    "Classifier",
    "ClsReadout",
    "Embedding",
    "FirstReadout",
    "MeanReadout",
    "PatchEmbedding",
    "Readout",
    "SpectrogramEmbedding",
    "TextEmbedding",
    "TokenLayout",
    "Tokens",
    "TransformerEncoder",
    "make_readout",
]
