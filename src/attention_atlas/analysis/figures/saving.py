"""Write a figure to a file."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from attention_atlas.analysis.files import check_output, draft

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of the path chooses the format.

    Raises:
        InputError: If the ending is another, or the file cannot be written.
    """
    check_output(path, FIGURE_SUFFIXES)
    with draft(path) as unfinished, warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes; that is no reason to complain.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(unfinished, dpi=160)
