"""Splits: exact proportions per stratum, independent of order, groups kept together."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_atlas.data.splits import (
    describe_copies,
    divide,
    grouped_split,
    join_groups,
    stable_hash,
    stratified_split,
)
from attention_atlas.errors import InputError

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_each_stratum_is_divided_in_the_given_proportions() -> None:
    ids = [f"sample-{index}" for index in range(1000)]
    strata = ["rare" if index % 10 == 0 else "common" for index in range(1000)]
    splits = stratified_split(ids, strata, FRACTIONS, seed=0)
    for name, share in FRACTIONS.items():
        counts = Counter(strata[index] for index in splits[name])
        assert counts == {"rare": round(100 * share), "common": round(900 * share)}


@given(st.integers(0, 2**32))
def test_the_split_does_not_depend_on_the_order(seed: int) -> None:
    ids = [f"sample-{index}" for index in range(60)]
    strata = {sample: int(sample[7:]) % 3 for sample in ids}
    shuffled = ids.copy()
    random.Random(seed).shuffle(shuffled)
    first = stratified_split(ids, [strata[sample] for sample in ids], FRACTIONS, seed=1)
    second = stratified_split(shuffled, [strata[sample] for sample in shuffled], FRACTIONS, seed=1)
    for name in FRACTIONS:
        assert {ids[index] for index in first[name]} == {shuffled[index] for index in second[name]}


def test_groups_never_stand_on_both_sides() -> None:
    ids = [f"sample-{index}" for index in range(300)]
    groups = [index // 7 for index in range(300)]
    splits = stratified_split(ids, [0] * 300, FRACTIONS, seed=0, groups=groups)
    sides = [{groups[index] for index in splits[name]} for name in FRACTIONS]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert sum(len(splits[name]) for name in FRACTIONS) == 300


def test_another_seed_draws_another_split() -> None:
    ids = [f"sample-{index}" for index in range(100)]
    first = stratified_split(ids, [0] * 100, FRACTIONS, seed=0)
    assert first != stratified_split(ids, [0] * 100, FRACTIONS, seed=1)


@given(st.integers(0, 2**32), st.integers(1, 9))
def test_a_test_set_of_its_own_seed_is_the_same_for_every_seed(seed: int, size: int) -> None:
    ids = [f"sample-{index}" for index in range(300)]
    strata = [index % 3 for index in range(300)]
    groups = [index // size for index in range(300)]
    first = stratified_split(ids, strata, FRACTIONS, 0, groups)
    fixed = stratified_split(ids, strata, FRACTIONS, seed, groups, test_seed=0)
    assert fixed["test"] == first["test"]
    assert sorted(index for part in fixed.values() for index in part) == list(range(300))
    trained, validated = ({groups[index] for index in fixed[name]} for name in ("train", "val"))
    assert not trained & validated
    assert abs(len(fixed["val"]) - 30) <= 2 * size


def test_fractions_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(InputError, match="sum to 1"):
        stratified_split(["a"], [0], {"train": 0.5, "test": 0.4}, seed=0)


samples = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.integers(0, 30)),
    min_size=1,
    max_size=80,
)


def sides(splits: dict[str, list[int]], keys: list[object]) -> dict[object, set[str]]:
    """The splits that samples of each key stand in."""
    found: dict[object, set[str]] = {}
    for split, indexes in splits.items():
        for index in indexes:
            found.setdefault(keys[index], set()).add(split)
    return found


@given(samples, st.integers(0, 3))
def test_no_content_and_no_group_stands_in_two_splits(
    drawn: list[tuple[str, int, int]], seed: int
) -> None:
    labels, groups, contents = (list(column) for column in zip(*drawn, strict=True))
    names = [f"{index:02}" for index in range(len(drawn))]
    given = [None] * len(drawn)
    splits = divide(given, names, labels, FRACTIONS, seed, contents)
    assert sorted(index for part in splits.values() for index in part) == list(range(len(drawn)))
    assert all(len(found) == 1 for found in sides(splits, contents).values())
    speakers = [f"speaker {group}" for group in groups]
    try:
        splits = divide(given, names, labels, FRACTIONS, seed, contents, speakers)
    except InputError:  # too few groups
        return
    for keys in (contents, speakers):
        assert all(len(found) == 1 for found in sides(splits, keys).values())
    assert all(splits.values())
    assert {labels[index] for index in splits["train"]} == set(labels)


@given(samples, st.randoms())
def test_groups_are_divided_alike_in_any_order(
    drawn: list[tuple[str, int, int]], shuffle: random.Random
) -> None:
    def speakers_of_splits(rows: list[tuple[str, int, int]]) -> dict[str, set[str]] | str:
        speakers = [f"speaker {group}" for _, group, _ in rows]
        try:
            splits = grouped_split(speakers, [label for label, _, _ in rows], FRACTIONS, 0)
        except InputError as error:
            return str(error)
        return {name: {speakers[index] for index in part} for name, part in splits.items()}

    shuffled = drawn.copy()
    shuffle.shuffle(shuffled)
    assert speakers_of_splits(drawn) == speakers_of_splits(shuffled)


@pytest.mark.parametrize(
    ("number", "train"), [(3, 1 / 3), (4, 1 / 2), (5, 3 / 5), (10, 8 / 10), (50, 40 / 50)]
)
@pytest.mark.parametrize("seed", range(5))
def test_few_speakers_of_all_classes_are_divided(number: int, train: float, seed: int) -> None:
    speakers = [f"speaker {index}" for index in range(number) for _ in range(12)]
    splits = grouped_split(speakers, list("abc") * 4 * number, FRACTIONS, seed)
    assert len(splits["train"]) == pytest.approx(train * len(speakers))
    assert len(splits["val"]) == len(splits["test"])


@pytest.mark.parametrize("seed", range(5))
def test_each_split_has_groups_of_each_class_where_there_are_enough(seed: int) -> None:
    bursts = [f"{label}{index}" for label in "abc" for index in range(3) for _ in range(5)]
    labels = [name[0] for name in bursts]
    splits = grouped_split(bursts, labels, FRACTIONS, seed)
    assert all({labels[index] for index in part} == set("abc") for part in splits.values())


@pytest.mark.parametrize("groups", [["a"] * 20, ["a"] * 19 + ["b"], ["a"] * 10 + ["b"] * 10])
def test_too_few_groups_are_reported(groups: list[str]) -> None:
    with pytest.raises(InputError, match=r"data\.group finds too few groups to divide, [12]: "):
        grouped_split(groups, [index % 2 for index in range(20)], FRACTIONS, 0)


def test_samples_are_joined_by_any_key() -> None:
    joined = join_groups(["a", "a", "b", "c", "d"], [1, 2, 2, 3, 4])
    assert len(set(joined[:3])) == 1
    assert len(set(joined)) == 3


def test_given_splits_stay_and_what_is_missing_is_drawn_from_train() -> None:
    given = ["train"] * 100 + ["test"] * 20
    names = [str(index) for index in range(120)]
    splits = divide(given, names, [0] * 120, FRACTIONS, 0)
    assert splits["test"] == list(range(100, 120))
    assert (len(splits["train"]), len(splits["val"])) == (90, 10)
    everything = [*given[:50], *["val"] * 50, *given[100:]]
    splits = divide(everything, names, [0] * 120, FRACTIONS, 0)
    assert [len(splits[name]) for name in FRACTIONS] == [50, 50, 20]


def test_a_group_in_two_given_splits_is_refused() -> None:
    with pytest.raises(InputError, match=r"The group 'ann' of data\.group stands in train"):
        divide(["train", "test"], ["1", "2"], [0, 0], FRACTIONS, 0, None, ["ann", "ann"])


def test_copies_in_given_splits_are_counted() -> None:
    contents = {"train": ["a", "b"], "val": ["c"], "test": ["a", "d"]}
    assert describe_copies(contents, {stable_hash("a"), stable_hash("b")}) == [
        "1 of 2 samples of test are copies of samples that were trained on, which makes accuracy "
        "look better than it is"
    ]
