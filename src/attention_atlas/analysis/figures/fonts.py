"""Fonts for the signs that matplotlib's own font lacks, such as Chinese and emoji."""

from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.text import Text

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
