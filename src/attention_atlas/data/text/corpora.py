"""The common form of all text corpora: labelled texts and their splits. Needs no torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from attention_atlas.data.splits import FRACTIONS, number_repeats, stable_hash, stratified_split
from attention_atlas.data.text.markup import strip_markup

Splits = dict[str, list[int]]

SENTIMENTS = ["negative", "positive"]

NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class TextCorpus:
    """Texts with their labels and splits.

    `sample_ids` are digests of the content; `groups` has values by which accuracy is reported: name
    -> one value per sample. `not_read` names files that were not read; `contents` has a key per
    sample of a user's own file, the same for copies.
    """

    texts: list[str]
    labels: list[int]
    classes: list[str]
    sample_ids: list[str]
    splits: Splits
    groups: dict[str, list[str]] = field(default_factory=dict)
    not_read: list[str] = field(default_factory=list)
    contents: list[str] | None = None


def normalise_text(text: str) -> str:
    """Normalise a text to its words, without case, markup and punctuation, to detect copies."""
    words = NOT_WORD.sub(" ", strip_markup(text).lower()).strip()
    return words or text


def content_ids(prefixes: Sequence[str], texts: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Return an id per sample from its content, with a number for exact repeats."""
    rows = zip(prefixes, texts, labels, strict=True)
    return number_repeats(
        [f"{prefix}-{stable_hash(label, text):016x}" for prefix, text, label in rows]
    )


def split_texts(
    sample_ids: Sequence[str],
    texts: Sequence[str],
    strata: Sequence[tuple[object, ...]],
    seed: int,
    fractions: Mapping[str, float] = FRACTIONS,
    test_seed: int | None = None,
) -> Splits:
    """Split so that copies of a text are in one split; see `stratified_split`."""
    copies = [normalise_text(text) for text in texts]
    return stratified_split(sample_ids, strata, fractions, seed, copies, test_seed)


def validation_from_training(
    train: Sequence[int],
    sample_ids: Sequence[str],
    texts: Sequence[str],
    labels: Sequence[int],
    seed: int,
) -> Splits:
    """Hold out 10 % of the training samples for validation."""
    parts = split_texts(
        [sample_ids[index] for index in train],
        [texts[index] for index in train],
        [(labels[index],) for index in train],
        seed,
        {"train": 0.9, "val": 0.1},
    )
    return {name: [train[index] for index in indexes] for name, indexes in parts.items()}
