"""Deterministic, stratified splits that do not depend on the order of the samples."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Mapping, Sequence

from attention_atlas.errors import InputError

SPLIT_VERSION = 3
"""Raised when the rule by which data is divided changes; an earlier run is divided by its own.

1: equal sounds, and equal pictures of a folder that does not fit memory, may stand in two splits.
2: the seed draws the test set of the embedded data too, and four voices of `spoken_commands` that
   sound alike count as different families.
"""

TEST_SEED = 0
"""Draws the test set of the embedded data, which is the same for every seed of a run.

So no seed tests on samples on which a recipe was chosen by the validation of another seed.
"""

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
    test_seed: int | None = None,
) -> dict[str, list[int]]:
    """Divide samples into named splits, each stratum in the same proportions.

    The split of a sample depends on its id, its stratum and the seed, never on the order of the
    samples. Samples of one group (the same text, the same voice) always stay together.

    Args:
        sample_ids: One stable id per sample.
        strata: Stratum of each sample: the label, or the pair of label and source.
        fractions: Fraction of each split, by name; they sum to 1.
        groups: One per sample; by default every sample is a group of its own.
        test_seed: Draws `test` in place of `seed`, which then draws the other splits.

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
    if test_seed is not None:
        return _fixed_test_split(sample_ids, strata, fractions, seed, groups, test_seed)
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


def _fixed_test_split(
    sample_ids: Sequence[str],
    strata: Sequence[Hashable],
    fractions: Mapping[str, float],
    seed: int,
    groups: Sequence[Hashable] | None,
    test_seed: int,
) -> dict[str, list[int]]:
    test = stratified_split(sample_ids, strata, fractions, test_seed, groups)["test"]
    rest = sorted(set(range(len(sample_ids))) - set(test))
    left = 1 - fractions["test"]
    parts = stratified_split(
        [sample_ids[index] for index in rest],
        [strata[index] for index in rest],
        {name: value / left for name, value in fractions.items() if name != "test"},
        seed,
        None if groups is None else [groups[index] for index in rest],
    )
    return {name: [rest[index] for index in part] for name, part in parts.items()} | {"test": test}


def divide(
    given: Sequence[str | None],
    sample_ids: Sequence[str],
    strata: Sequence[Hashable],
    fractions: Mapping[str, float],
    seed: int,
    contents: Sequence[Hashable] | None = None,
    groups: Sequence[str] | None = None,
    test_seed: int | None = None,
) -> dict[str, list[int]]:
    """Divide samples into `train`, `val` and `test`; given splits stay.

    A missing `val` or `test` is drawn from the training samples, all of which a data set without
    splits consists of.

    Args:
        given: The split that a sample comes with; None is `train`.
        sample_ids: One stable id per sample.
        strata: The label of each sample.
        fractions: Fraction of `val` and of `test` where they are drawn.
        seed: Seed of the draw.
        contents: A key per sample, the same for identical ones, which stay together.
        groups: The name of the group of each sample; a group stays together.
        test_seed: Draws `test` in place of `seed`, for samples without splits and groups.

    Raises:
        InputError: A group stands in two given splits, or there are too few groups.
    """
    splits = {
        name: [index for index, split in enumerate(given) if (split or "train") == name]
        for name in FRACTIONS
    }
    if groups is not None:
        _check_given(splits, groups)
    drawn = {name: fractions[name] for name in ("val", "test") if not splits[name]}
    pool = splits["train"]
    if not drawn or not pool:
        return splits
    parts = _draw(
        [sample_ids[index] for index in pool],
        [strata[index] for index in pool],
        {"train": 1 - sum(drawn.values())} | drawn,
        seed,
        None if contents is None else [contents[index] for index in pool],
        None if groups is None else [groups[index] for index in pool],
        test_seed,
    )
    return splits | {name: [pool[index] for index in part] for name, part in parts.items()}


def describe_copies(contents: Mapping[str, Sequence[str]], trained: Container[int]) -> list[str]:
    """Say how many samples of `val` and `test` were trained on, a line each.

    Args:
        contents: A key per sample of each split, the same for identical ones.
        trained: The hashes of the keys that were trained on.
    """
    lines = []
    for name in ("val", "test"):
        keys = contents.get(name, [])
        copies = sum(stable_hash(key) in trained for key in keys)
        if copies:
            lines.append(
                f"{copies:,} of {len(keys):,} samples of {name} are copies of samples that were "
                "trained on, which makes accuracy look better than it is"
            )
    return lines


def pick(values: Sequence[str], splits: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
    """Return the values of the samples of each split."""
    return {name: [values[index] for index in indexes] for name, indexes in splits.items()}


def join_groups(*keys: Sequence[Hashable]) -> list[int]:
    """Return a number per sample, the same for samples that share a key, directly or by others."""
    parent = list(range(len(keys[0])))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for column in keys:
        first: dict[Hashable, int] = {}
        for index, key in enumerate(column):
            parent[root(index)] = root(first.setdefault(key, index))
    return [root(index) for index in range(len(parent))]


def _check_given(splits: Mapping[str, Sequence[int]], groups: Sequence[str]) -> None:
    split_of: dict[str, str] = {}
    for name, indexes in splits.items():
        for index in indexes:
            if split_of.setdefault(groups[index], name) != name:
                raise InputError(
                    f"The group {groups[index]!r} of data.group stands in {split_of[groups[index]]}"
                    f" and in {name}; move it to one of them, or leave data.group out."
                )


def _draw(
    sample_ids: Sequence[str],
    strata: Sequence[Hashable],
    fractions: Mapping[str, float],
    seed: int,
    contents: Sequence[Hashable] | None,
    groups: Sequence[str] | None,
    test_seed: int | None,
) -> dict[str, list[int]]:
    if groups is None:
        return stratified_split(sample_ids, strata, fractions, seed, contents, test_seed)
    joined = join_groups(groups, *([] if contents is None else [contents]))
    names: dict[int, str] = {}
    for number, name in zip(joined, groups, strict=True):
        names[number] = min(name, names.get(number, name))
    return grouped_split([names[number] for number in joined], strata, fractions, seed)


def grouped_split(
    groups: Sequence[str],
    strata: Sequence[Hashable],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, list[int]]:
    """Divide named groups, of which there may be few, into `train` and other splits.

    Each other split draws groups until it has about its fraction of each class, and a group of
    each class that has enough of them. `train` has the rest, and any group with more than half of
    the samples. The draw depends on the names of the groups and the seed, not on their order.

    Raises:
        InputError: There are too few groups.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(groups):
        members[name].append(index)
    counts = {name: Counter(strata[index] for index in found) for name, found in members.items()}
    totals = Counter(strata)
    left = sorted(members, key=lambda name: (stable_hash(seed, name), name))
    others = [name for name in fractions if name != "train"]
    chosen: dict[str, Sequence[str]] = {}
    for number, split in enumerate(reversed(others)):  # `test` first
        drawn = _draw_groups(left, counts, totals, fractions[split], len(others) - number)
        left = [name for name in left if name not in drawn]
        chosen[split] = sorted(drawn)
    chosen["train"] = left
    trained = {each for name in left for each in counts[name]}
    if not all(chosen.values()) or trained != set(totals):
        raise InputError(
            f"data.group finds too few groups to divide, {len(members)}: train needs one of each "
            f"class, {' and '.join(others)} at least one of another group, none of them with more "
            "than half of the samples."
        )
    return {
        split: sorted(index for name in chosen[split] for index in members[name])
        for split in fractions
    }


def _draw_groups(
    names: Sequence[str],
    counts: Mapping[str, Counter[Hashable]],
    totals: Counter[Hashable],
    fraction: float,
    num_reserved: int,
) -> set[str]:
    """Draw groups for one split, class by class, the rarest first.

    Args:
        names: The groups that are left, in the order of the draw.
        counts: Samples of each class in each group.
        totals: Samples of each class.
        fraction: Fraction of each class that the split is to have.
        num_reserved: Groups of each class that stay for other splits.
    """
    left_of_class = Counter(each for name in names for each in counts[name])
    small = [name for name in names if 2 * counts[name].total() <= totals.total()]
    small_of_class: dict[Hashable, list[str]] = defaultdict(list)
    for name in small:
        for each in counts[name]:
            small_of_class[each].append(name)
    drawn: set[str] = set()
    had: Counter[Hashable] = Counter()
    for each in sorted(totals, key=lambda each: (totals[each], str(each))):
        for name in small_of_class[each]:
            size = had[each] and had[each] + counts[name][each] / 2
            if name in drawn or size > fraction * totals[each]:
                continue
            if left_of_class[each] > num_reserved:
                drawn.add(name)
                had.update(counts[name])
                left_of_class.subtract(counts[name].keys())
    return drawn or set(small[:1])  # no class has a group to spare


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
