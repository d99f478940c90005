"""Write what an atlas holds in forms that other programs read.

Each form is imported when it is asked for: only `bertviz` needs torch. Every file appears whole or
not at all, and takes the place of one of the same name.
"""

from attention_atlas.analysis.export.formats import FORMATS, WHATS, Format, export, format_of

__all__ = ["FORMATS", "WHATS", "Format", "export", "format_of"]
