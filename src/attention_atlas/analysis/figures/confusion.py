"""The confusion matrix as a figure."""

import numpy as np
from matplotlib.figure import Figure

from attention_atlas.analysis.confusion import Confusion
from attention_atlas.analysis.figures.style import COLOURS, new_figure

MAX_NUMBERS = 20  # classes whose cells hold their counts
MAX_CLASSES = 60
INCHES = 0.42  # of a cell


def confusion_figure(confusion: Confusion) -> Figure:
    """Draw counts shaded by the fraction of each label, rows by label.

    Cells hold their counts up to 20 classes; of more than 60 those with the most errors are drawn.
    """
    chosen = _with_errors(confusion)
    counts, support = confusion.matrix(chosen), confusion.support[chosen][:, None]
    names = [confusion.classes[index] for index in chosen]
    size = len(names)
    side = 2.5 + INCHES * size
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    fractions = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    image = axes.imshow(fractions, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    axes.set(xlabel="predicted", ylabel="label")
    if size < len(confusion.classes):
        axes.set_title(f"{size} of {len(confusion.classes):,} classes, those with the most errors")
    axes.set_xticks(range(size), names, rotation=90, parse_math=False)
    axes.set_yticks(range(size), names, parse_math=False)
    if size <= MAX_NUMBERS:
        for row, column in np.ndindex(size, size):
            colour = "white" if fractions[row, column] > 0.5 else "black"
            count = f"{counts[row, column]:,}"
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, ax=axes, label="fraction of the label", shrink=0.8)
    return figure


def _with_errors(confusion: Confusion) -> list[int]:
    """Return the indices of the classes to draw, in their order."""
    errors = confusion.support + confusion.predicted - 2 * confusion.right
    order = np.argsort(-errors, kind="stable")
    return sorted(order[:MAX_CLASSES].tolist())
