"""What a run folder says beside its atlas."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attention_atlas.atlas import Atlas


def read_accuracy(atlas: "Atlas") -> float | None:
    """Read the accuracy that the run of an atlas reported, if it got that far."""
    try:
        return float(json.loads(atlas.read_beside("result.json") or b"")["test/accuracy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
