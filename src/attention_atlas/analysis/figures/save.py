"""Write a figure to a file, with fonts for the characters that matplotlib's own font lacks."""

import logging
import re
import warnings
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.text import Text

from attention_atlas.output_files import FIGURE_SUFFIXES, check_output, draft

MAX_NAMED = 8  # characters that a warning names

log = logging.getLogger(__name__)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of the path chooses the format.

    Characters that no installed font has are drawn as boxes, and a warning names them. Raises
    InputError if the ending is another, or the file cannot be written.
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
        characters = " ".join([*missing][:MAX_NAMED]) + " …" * (len(missing) > MAX_NAMED)
        log.warning(
            "%s shows boxes for %s: no installed font has them. Fonts such as Noto Sans CJK and "
            "Noto Emoji do.",
            path,
            characters,
        )


# Common fonts of the systems; those of coloured bitmaps cannot be drawn and are not among them.
FALLBACKS = (
    "Noto Sans Mono CJK SC",
    "Noto Sans Mono CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
    "Segoe UI Emoji",
    "Segoe UI Symbol",
    "Symbola",
    "Unifont",
)


def add_fonts(figure: Figure) -> None:
    """Let words of a figure that are not ASCII fall back to those fonts that are installed."""
    texts = [text for text in figure.findobj(Text) if not text.get_text().isascii()]
    if not texts:
        return
    known = set(get_font_names())
    installed = [name for name in FALLBACKS if name in known]
    for text in texts:
        families = text.get_fontfamily()
        text.set_fontfamily([*families, *(name for name in installed if name not in families)])
