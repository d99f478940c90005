"""Cut prepared batches into parts that fit. Shapes: B batch, K tokens."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from attention_atlas.encoder import Classifier

Batch = dict[str, Any]
MAX_CELLS = 2**20
"""Of the map of one head for a part, B x K x K: attributions look at whole maps."""


def select(batch: Batch, places: list[int]) -> Batch:
    """Some samples of a batch, padded no longer than the longest of them needs."""
    part: Batch = {
        name: values[places] for name, values in batch.items() if isinstance(values, Tensor)
    }
    part["sample_id"] = [batch["sample_id"][place] for place in places]
    if _is_text(part):
        longest = max(int(part["lengths"].max()), 1)
        part |= {name: part[name][:, :longest] for name in ("inputs", "spans") if name in part}
    return part


def cut(batches: Iterable[Batch], model: Classifier) -> Iterator[Batch]:
    """The samples of prepared batches in parts of at most `MAX_CELLS`, the shorter ones first."""
    for batch in batches:
        lengths = model.token_layout(batch).valid.sum(dim=1).tolist()
        places: list[int] = []
        for place in sorted(range(len(lengths)), key=lengths.__getitem__):
            if places and (len(places) + 1) * lengths[place] ** 2 > MAX_CELLS:
                yield select(batch, places)
                places = []
            places.append(place)
        if places:
            yield select(batch, places)


def _is_text(batch: Batch) -> bool:
    """Whether inputs are token ids [B, K], which are padded to the longest sample."""
    return "lengths" in batch and batch["inputs"].ndim == 2
