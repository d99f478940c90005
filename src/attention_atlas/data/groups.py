"""Groups of files, such as the speaker of a sound: by a pattern of their names. Needs no torch."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from attention_atlas.data.listing import LabelledFile
from attention_atlas.data.splits import FRACTIONS, divide
from attention_atlas.errors import InputError

GROUP = "group"
"""Name of the groups of `data.group` among those by which accuracy is reported."""


def file_groups(files: Sequence[LabelledFile], pattern: str) -> list[str]:
    """Return the group of each file.

    Args:
        files: As listed.
        pattern: `data.group`: `%` stands for the group, which holds no slash, and `*` for anything,
            both as short as possible. It is compared with the name of a file or, if it holds a
            slash, with the path below the root.

    Raises:
        InputError: The pattern has not exactly one `%`, or a file does not fit it.
    """
    if pattern.count("%") != 1:
        raise InputError(
            f"data.group={pattern} is not possible: % stands for the group, once, and * for "
            "anything, such as data.group=%_*.wav."
        )
    parts = {"%": "([^/]+?)", "*": ".*?"}
    expression = "".join(parts.get(each) or re.escape(each) for each in pattern)
    compiled = re.compile(expression, re.DOTALL)
    groups = []
    for file in files:
        found = compiled.fullmatch(file.sample_id if "/" in pattern else file.path.name)
        if found is None:
            raise InputError(f"{file.path} does not fit data.group={pattern}; rename or remove it.")
        groups.append(found[1])
    return groups


def check_file_groups(files: Sequence[LabelledFile], pattern: str | None, seed: int) -> None:
    """Check that the groups of a pattern, if there is one, can be divided.

    Raises:
        InputError: They cannot.
    """
    if pattern is not None:
        labels = [file.label for file in files]
        given, names = [file.split for file in files], [file.sample_id for file in files]
        divide(given, names, labels, FRACTIONS, seed, groups=file_groups(files, pattern))


def describe_likely_groups(
    files: Sequence[LabelledFile], splits: Mapping[str, Sequence[int]]
) -> str | None:
    """Say that the names of files look like groups that stand in two splits; None if they do not.

    A group would be the part of a name before the first `_` or `-`: the same for several files, in
    classes that hold more than one of them.
    """
    split_of = {index: name for name, indexes in splits.items() for index in indexes}
    members, labels = defaultdict(list), defaultdict(set)
    for index, file in enumerate(files):
        found = re.match(r"([^_-]+)[_-]", file.path.name)
        if found is None:
            return None
        members[found[1]].append(index)
        labels[file.label].add(found[1])
    if 2 * len(members) > len(files) or all(len(found) < 2 for found in labels.values()):
        return None
    for name in sorted(members):
        sides = [split for split in splits if split in {split_of[each] for each in members[name]}]
        if len(sides) > 1:
            example = files[members[name][0]].path.name
            return (
                f"names such as {example} look like {len(members)} groups, and "
                f"{name} stands in {' and '.join(sides)}: if so, "
                f"data.group=%{example[len(name)]}* holds whole groups out"
            )
    return None
