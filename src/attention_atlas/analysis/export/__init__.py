"""Export samples of an atlas to formats that other programs read.

Each format is imported on use: only `bertviz` needs torch. A file is written completely or not at
all, and replaces one of the same name.
"""

from attention_atlas.analysis.export.formats import FORMATS, WHATS, Format, export, format_of

__all__ = ["FORMATS", "WHATS", "Format", "export", "format_of"]
