"""Figures of attributions and of how faithful they are."""

from attention_atlas.analysis.faithfulness.figures.methods import faithfulness_figure
from attention_atlas.analysis.faithfulness.figures.sample import attributions_figure

__all__ = ["attributions_figure", "faithfulness_figure"]
