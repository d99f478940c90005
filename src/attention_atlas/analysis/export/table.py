"""Tables of comma-separated values, a row for each number or token."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attention_atlas.atlas import Atlas, Sample
from attention_atlas.atlas.schema import TOKEN_LAYOUTS
from attention_atlas.errors import InputError
from attention_atlas.output_files import draft

Row = Iterable[Any]
READOUT = "readout"  # instead of the index of a layer


def write_table(
    atlas: Atlas,
    samples: Sequence[Sample],
    path: Path,
    what: str = "tokens",
    progress: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """Write one row for each

    - token (`tokens`): its text or box, its weight in the readout, mean of the heads, and the
      attention that it receives in each layer, mean of heads and queries, if maps are stored;
    - weight of the readout (`readout`), by head and key;
    - weight of the maps (`maps`), by layer, head, query and key, of samples that have them;
    - head (`statistics`), with its entropy in nats and, if there is one, its weight of the
      null key; the readout's heads are of the layer `readout`.

    Numbers have as many digits as distinguish them; a missing value is an empty cell. Returns the
    samples that have a row; raises InputError if maps are requested and no sample has any.
    """
    if what == "maps":
        samples = _with_maps(samples)
    headings = {
        "tokens": _token_headings(atlas),
        "readout": ("sample_id", "head", "key", "weight"),
        "maps": ("sample_id", "layer", "head", "query", "key", "weight"),
        "statistics": (*_ABOUT, "layer", "head", "entropy", "null_share"),
    }[what]
    rows = {"tokens": _tokens, "readout": _readout, "maps": _maps, "statistics": _statistics}[what]
    with draft(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        for done, sample in enumerate(samples, start=1):
            writer.writerows(rows(sample))
            if progress is not None:
                progress(done, len(samples))
    return list(samples)


def _with_maps(samples: Sequence[Sample]) -> list[Sample]:
    mapped = [sample for sample in samples if sample.has_maps]
    if not mapped:
        if len(samples) == 1:
            samples[0].read_maps()  # raises the reason
        raise InputError("No sample has full maps: record them with capture=full.")
    return mapped


_ABOUT = ("sample_id", "epoch", "split", "label", "prediction", "length")


def _token_headings(atlas: Atlas) -> Row:
    boxes = TOKEN_LAYOUTS[atlas.attributes.token_layout].box_names
    layers = [f"layer_{layer}" for layer in range(len(atlas.layers))]
    return ("sample_id", "token", "text", *boxes, READOUT, *layers)


def _tokens(sample: Sample) -> Iterator[Row]:
    nothing = np.full(sample.length, np.nan)
    readout = sample.readout.mean(axis=0) if len(sample.readout) else nothing
    if sample.has_maps:
        received = sample.read_maps().astype(np.float32).mean(axis=(1, 2))
    else:
        received = np.full((len(sample.entropy), sample.length), np.nan)
    columns = [_cells(column) for column in (readout, *received)]
    boxes = [_cells(box) for box in sample.boxes]
    for token, (text, *weights) in enumerate(zip(sample.tokens, *columns, strict=True)):
        yield (sample.sample_id, token, text, *boxes[token], *weights)


def _readout(sample: Sample) -> Iterator[Row]:
    for head, weights in enumerate(sample.readout):
        for key, weight in enumerate(_cells(weights)):
            yield (sample.sample_id, head, key, weight)


def _maps(sample: Sample) -> Iterator[Row]:
    for layer, heads in enumerate(sample.read_maps()):
        for head, rows in enumerate(heads):
            for query, weights in enumerate(rows):
                for key, weight in enumerate(_cells(weights)):
                    yield (sample.sample_id, layer, head, query, key, weight)


def _statistics(sample: Sample) -> Iterator[Row]:
    names = (sample.label_name, sample.prediction_name)
    about = (sample.sample_id, sample.epoch, sample.split, *names, sample.length)
    null_share = sample.null_share
    for layer, entropy in enumerate(sample.entropy):
        yield from _heads(about, layer, entropy, None if null_share is None else null_share[layer])
    yield from _heads(about, READOUT, sample.readout_entropy, sample.readout_null_share)


def _heads(
    about: tuple[Any, ...], layer: int | str, entropy: Any, null_share: Any
) -> Iterator[Row]:
    shown = [""] * len(entropy) if null_share is None else _cells(null_share)
    for head, (value, weight) in enumerate(zip(_cells(entropy), shown, strict=True)):
        yield (*about, layer, head, value, weight)


def _cells(values: Any) -> list[str]:
    """Return numbers as texts that round-trip exactly; NaN is an empty one."""
    return ["" if value != value else str(value) for value in values]
