"""Labels that are not classes are refused, with what is supported."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_atlas.data.text.csv_files import load_csv
from attention_atlas.data.text.labels import check_labels
from attention_atlas.data.text.options import TextOptions
from attention_atlas.errors import InputError

DRAW = random.Random(0)
SINGLE = ["crime", "love", "war"]


def combination(separator: str) -> str:
    return separator.join(sorted(DRAW.sample(SINGLE, DRAW.choice([1, 2, 3]))))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: combination("|"), "several labels in one row, such as "),
        (lambda: combination(", "), "several labels in one row"),
        (lambda: combination(";"), "several labels in one row"),
        (lambda: str([combination("', '")]), "several labels in one row, such as "),
        (lambda: f"{DRAW.random():.4f}", "different numbers in 200 rows; numbers as labels"),
        (lambda: f"{DRAW.randrange(40) / 4}", "different numbers in 200 rows"),
        (lambda: f"{DRAW.randrange(10**6)}", "different numbers in 200 rows"),
        (lambda: " ".join(DRAW.choices(["O", "B-PER"], k=3)), "a label for each word"),
    ],
)
def test_what_is_not_a_class_is_refused(
    tmp_path: Path, draw: Callable[[], str], message: str
) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        rows = [(f"some text {index}", draw()) for index in range(200)]
        csv.writer(file).writerows([("text", "label"), *rows])
    with pytest.raises(InputError) as error:
        load_csv(TextOptions(name="csv", path=str(path)))
    assert message in str(error.value)
    assert f"{path}, column 'label'" in str(error.value)
    assert "one class a row is supported" in str(error.value)


@given(
    st.one_of(
        st.lists(st.integers(1, 10).map(str), min_size=30),
        st.lists(st.sampled_from(["0.5", "1.0", "1.5", "2.0"]), min_size=10),
        st.lists(st.sampled_from(["so-so, or worse", "good", "sci-fi; old", "a|b"]), min_size=2),
        st.lists(st.sampled_from(["(good)", "very good", "nan", "inf"]), min_size=2),
    )
)
def test_classes_with_odd_names_are_accepted(names: list[str]) -> None:
    check_labels(names, [f"a text of words {index}" for index in range(len(names))], "a.csv")


def test_many_whole_numbers_with_enough_rows_are_classes() -> None:
    check_labels([str(index % 50) for index in range(500)], ["a text"] * 500, "a.csv")
