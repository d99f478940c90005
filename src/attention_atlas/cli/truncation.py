"""Which texts a model did not read to the end."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from attention_atlas.atlas import Sample

NO_MORE = "the model takes no more tokens"


def characters_read(sample: "Sample", max_tokens: int | None) -> int:
    """Where the last token ends, of a text of more tokens than the model takes."""
    if max_tokens is None or sample.length < max_tokens:
        return len(sample.text)
    return int(np.nanmax(sample.boxes[:, 1]))


def is_cut(sample: "Sample", max_tokens: int | None) -> bool:
    """Whether more of its text follows than blanks."""
    return characters_read(sample, max_tokens) < len(sample.text.rstrip())
