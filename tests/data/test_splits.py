"""Splits: exact proportions per stratum, independent of order, groups kept together."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_atlas.data.splits import stratified_split
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


def test_fractions_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(InputError, match="sum to 1"):
        stratified_split(["a"], [0], {"train": 0.5, "test": 0.4}, seed=0)
