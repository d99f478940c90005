"""Deterministic, stratified splits that do not depend on the order of the samples."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

from attention_atlas.errors import InputError

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
"""How texts and clips without official splits are divided."""


def stable_hash(*parts: object) -> int:
    """Return a 64-bit number that depends on the parts only, in every process and release."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def stable_uniform(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts only."""
    return (stable_hash(*parts) >> 11) / 2.0**53


def number_repeats(names: Sequence[str]) -> list[str]:
    """Make names unique: the second `name` becomes `name-2`."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return numbered


def evenly_spaced(count: int, maximum: int) -> list[int]:
    """Return at most `maximum` evenly spaced indices below `count`, the first among them."""
    maximum = min(maximum, count)
    return [index * count // maximum for index in range(maximum)]


def stratified_split(
    sample_ids: Sequence[str],
    strata: Sequence[Hashable],
    fractions: Mapping[str, float],
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, list[int]]:
    """Divide samples into named splits, each stratum in the same proportions.

    The split of a sample depends on its id, its stratum and the seed, never on the order of the
    samples. Samples of one group (the same text, the same voice) always stay together.

    Args:
        sample_ids: One stable id per sample.
        strata: Stratum of each sample: the label, or the pair of label and source.
        fractions: Fraction of each split, by name; they sum to 1.
        groups: One per sample; by default every sample is a group of its own.

    Returns:
        The sorted indexes of each split, by name.

    Raises:
        InputError: The fractions do not sum to 1, or one of them is not between 0 and 1.
    """
    sums_to_one = abs(sum(fractions.values()) - 1) < 1e-9
    if not sums_to_one or any(not 0 <= fraction <= 1 for fraction in fractions.values()):
        raise InputError(
            f"Split fractions must lie between 0 and 1 and sum to 1, got {dict(fractions)}."
        )
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index in range(len(sample_ids)):
        members[index if groups is None else groups[index]].append(index)

    group_strata: dict[Hashable, list[tuple[int, list[int]]]] = defaultdict(list)
    for indexes in members.values():
        first = min(indexes, key=lambda index: sample_ids[index])
        group_strata[strata[first]].append((stable_hash(seed, sample_ids[first]), indexes))

    splits: dict[str, list[int]] = {name: [] for name in fractions}
    for ordered in group_strata.values():
        ordered.sort()
        _deal(ordered, fractions, splits)
    return {name: sorted(indexes) for name, indexes in splits.items()}


def _deal(
    ordered: list[tuple[int, list[int]]],
    fractions: Mapping[str, float],
    splits: dict[str, list[int]],
) -> None:
    """Cut one shuffled stratum at the cumulated fractions."""
    names = list(fractions)
    total = sum(len(indexes) for _, indexes in ordered)
    ends = [sum(list(fractions.values())[: k + 1]) * total for k in range(len(names))]
    dealt = 0
    current = 0
    for _, indexes in ordered:
        while current < len(names) - 1 and dealt + len(indexes) / 2 > ends[current]:
            current += 1
        splits[names[current]].extend(indexes)
        dealt += len(indexes)
