"""Figures of any array of attention weights, for scripts and notebooks."""

from attention_atlas.analysis.figures.attention_map import attention_map

__all__ = ["attention_map"]
