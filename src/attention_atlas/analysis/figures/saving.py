"""Write a figure to a file."""

import logging
import re
import warnings
from pathlib import Path

from matplotlib.figure import Figure

from attention_atlas.analysis.figures.fonts import add_fonts
from attention_atlas.output_files import check_output, draft

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
MOST_NAMED = 8  # signs of a warning

log = logging.getLogger(__name__)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of the path chooses the format.

    Signs that no installed font has are drawn as boxes, and one sentence of the log names them.

    Raises:
        InputError: If the ending is another, or the file cannot be written.
    """
    check_output(path, FIGURE_SUFFIXES)
    add_fonts(figure)
    with draft(path) as unfinished, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(unfinished, dpi=160)
    missing: dict[str, None] = {}
    for warning in caught:
        found = re.match(r"Glyph (\d+) .*missing", str(warning.message))
        if found is None:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        else:
            missing[chr(int(found[1]))] = None
    if missing:
        signs = " ".join([*missing][:MOST_NAMED]) + " …" * (len(missing) > MOST_NAMED)
        log.warning(
            "%s shows boxes for %s: no installed font has them. Fonts such as Noto Sans CJK and "
            "Noto Emoji do.",
            path,
            signs,
        )
