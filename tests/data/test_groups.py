"""Groups of files by a pattern of their names, and the hint where names look like groups."""

from pathlib import Path

import pytest

from attention_atlas.data.groups import describe_likely_groups, file_groups
from attention_atlas.data.listing import LabelledFile
from attention_atlas.errors import InputError


def files_of(*names: str) -> list[LabelledFile]:
    return [LabelledFile(Path("root", name), name, name.split("/")[0], None) for name in names]


@pytest.mark.parametrize(
    ("pattern", "name", "group"),
    [
        ("%_*.wav", "yes/anna_01.wav", "anna"),
        ("%_*", "yes/anna_b_01.wav", "anna"),
        ("*_%.wav", "yes/01_anna.wav", "anna"),
        ("*-%-*", "yes/01-anna-b.wav", "anna"),
        ("*/%/*", "yes/anna/day/01.wav", "anna"),
        ("%/*", "yes/anna.wav", "yes"),
        ("[%]*", "yes/[anna].wav", "anna"),
        ("%.*", "yes/a b\n.wav", "a b\n"),
    ],
)
def test_a_pattern_names_the_group(pattern: str, name: str, group: str) -> None:
    assert file_groups(files_of(name), pattern) == [group]


@pytest.mark.parametrize("pattern", ["*.wav", "", "%_%.wav"])
def test_a_pattern_has_one_group(pattern: str) -> None:
    with pytest.raises(InputError, match="% stands for the group, once"):
        file_groups(files_of("a/1.wav"), pattern)


@pytest.mark.parametrize("name", ["yes/anna.wav", "yes/_01.wav", "yes_no/anna.wav"])
def test_a_file_that_does_not_fit_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} does not fit data\.group=%_\*\.wav"):
        file_groups(files_of("yes/anna_01.wav", name), "%_*.wav")


def hint(*names: str) -> str | None:
    """The hint for files that stand in train and test in turn."""
    indexes = range(len(names))
    return describe_likely_groups(
        files_of(*names), {"train": list(indexes[::2]), "val": [], "test": list(indexes[1::2])}
    )


def test_names_that_look_like_groups_are_pointed_out() -> None:
    names = [
        f"{label}/{who}-{take}.wav" for label in "ab" for who in ("ann", "bo") for take in "12"
    ]
    assert hint(*names) == (
        "names such as ann-1.wav look like 2 groups, and ann stands in train and test: if so, "
        "data.group=%-* holds whole groups out"
    )


@pytest.mark.parametrize(
    "names",
    [
        [f"{label}/IMG_{number}.png" for label in "ab" for number in range(8)],  # one prefix
        [f"{label}/{label}_{number}.png" for label in "ab" for number in range(8)],  # the class
        [f"{label}/{label}{number}_x.png" for label in "ab" for number in range(8)],  # all differ
        [f"{label}/{number}.png" for label in "ab" for number in range(8)],  # no prefix
    ],
)
def test_other_names_are_not(names: list[str]) -> None:
    assert hint(*sorted(names, key=lambda name: name[2:])) is None


def test_groups_on_one_side_are_not_pointed_out() -> None:
    files = files_of("a/ann_1.wav", "a/ann_2.wav", "a/bo_1.wav", "a/bo_2.wav")
    assert describe_likely_groups(files, {"train": [0, 1], "val": [], "test": [2, 3]}) is None
