"""Markup in texts: tags, which are no words, and entities, which stand for characters."""

import html
import re

TAG = r"<[A-Za-z/!][^<>]*>"
"""A tag, as HTML defines its beginning; `<3` is not a tag. It is found in linear time: each search
ends at the next bracket. Python and Oniguruma read it alike."""

_TAG = re.compile(TAG)
_ENTITY = re.compile(r"&#?[A-Za-z0-9]{1,32};?")  # longer ones are no entities, and slow as numbers


def strip_markup(text: str) -> str:
    """Return a text with blanks for tags, and characters for entities."""
    return _ENTITY.sub(lambda found: html.unescape(found[0]), _TAG.sub(" ", text))
