"""Figures of samples: text, image or spectrogram with the weights of its tokens.

The colours run from light (no weight) to dark and differ in lightness throughout, so they survive
print and colour blindness. Signed weights have two hues, which part at zero. A query is framed in
black and white, which contrasts with all of them.
"""

from attention_atlas.analysis.figures.confusion import confusion_figure
from attention_atlas.analysis.figures.sample import sample_figure
from attention_atlas.analysis.figures.save import save_figure
from attention_atlas.analysis.figures.side_by_side import comparison_figure, gallery_figure
from attention_atlas.analysis.figures.style import COLOURS, SIGNED_COLOURS

__all__ = [
    "COLOURS",
    "SIGNED_COLOURS",
    "comparison_figure",
    "confusion_figure",
    "gallery_figure",
    "sample_figure",
    "save_figure",
]
