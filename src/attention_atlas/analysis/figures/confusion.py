"""The confusion matrix as a figure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from attention_atlas.analysis.figures.style import COLOURS, new_figure

MAX_NUMBERS = 20  # classes whose cells hold their counts
MAX_NAMES = 60
INCHES = 0.42  # of a cell


def confusion_figure(classes: Sequence[str], confusion: npt.NDArray[np.int64]) -> Figure:
    """Draw counts [C, C] shaded by the fraction of each label, rows by label.

    Cells hold their counts up to 20 classes, and axes the names of classes up to 60.
    """
    size = len(classes)
    side = 2.5 + INCHES * min(size, MAX_NAMES)
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    support = confusion.sum(axis=1, keepdims=True)
    fractions = np.divide(confusion, support, out=np.zeros(confusion.shape), where=support > 0)
    image = axes.imshow(fractions, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    axes.set(xlabel="predicted", ylabel="label")
    if size <= MAX_NAMES:
        axes.set_xticks(range(size), classes, rotation=90, parse_math=False)
        axes.set_yticks(range(size), classes, parse_math=False)
    if size <= MAX_NUMBERS:
        for row, column in np.ndindex(size, size):
            colour = "white" if fractions[row, column] > 0.5 else "black"
            count = f"{confusion[row, column]:,}"
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, ax=axes, label="fraction of the label", shrink=0.8)
    return figure
