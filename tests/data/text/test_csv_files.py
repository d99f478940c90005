"""Your own texts: the files of a folder, classes and splits that follow from the content alone."""

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_atlas.data.check import check_text
from attention_atlas.data.text.csv_files import check_csv, load_csv
from attention_atlas.data.text.options import TextOptions
from attention_atlas.errors import InputError

ODD = [
    *("nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e999", "-1e999", "1", "1.0", "01", "1_0"),
    *("-0", "0", "2", "10", "\uff11", "\u0661", "e\u0301", "\u00e9", "\u00df", "SS", "\u0130"),
    *("i", "I", "\u0131", "True", "None", "", "a,b", 'a"b', "\U0001f600", "x" * 300, "a b"),
]
ODD.remove("")
NAMES = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1),
)


def write(path: Path, rows: list[tuple[str, ...]], *columns: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns or ("text", "label"))
        writer.writerows(rows)
    return path


def options(path: Path | None, **values: Any) -> TextOptions:
    return TextOptions(name="csv", path=None if path is None else str(path), **values)


def described(path: Path) -> list[Any]:
    """Classes, and the content of each split."""
    corpus = load_csv(options(path))
    rows = zip(corpus.sample_ids, corpus.texts, corpus.labels, strict=True)
    by_index = [[name, text, corpus.classes[label]] for name, text, label in rows]
    splits = {
        split: sorted(by_index[index] for index in indexes)
        for split, indexes in sorted(corpus.splits.items())
    }
    return [corpus.classes, splits]


@settings(max_examples=50, deadline=None)
@given(st.sets(NAMES, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_classes_ids_and_splits_do_not_depend_on_the_order_of_rows(
    names: set[str], shuffle: random.Random
) -> None:
    labels = [name for name in sorted({name.strip() for name in names}) if name]
    if len(labels) < 2:
        return
    rows = [(f"word{index} {label}", label) for index in range(20) for label in labels]
    rows += rows[:5]  # the same again
    with tempfile.TemporaryDirectory() as folder:
        first = described(write(Path(folder, "a.csv"), rows))
        shuffle.shuffle(rows)
        assert described(write(Path(folder, "b.csv"), rows)) == first


def test_classes_ids_and_splits_do_not_depend_on_the_process(tmp_path: Path) -> None:
    rows = [(f"word{index} {name}", name) for index in range(20) for name in ODD]
    path = write(tmp_path / "odd.csv", rows)
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_csv_files import described\n"
        "print(json.dumps(described(Path(sys.argv[1]))))"
    )
    expected = json.loads(json.dumps(described(path)))
    for environment in (
        {"PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8"},
        {"PYTHONHASHSEED": "2", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONHASHSEED": "3", "LC_ALL": "tr_TR.UTF-8"},
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), str(Path(__file__).parent)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == expected, environment


def test_numbers_are_sorted_by_value_before_names(tmp_path: Path) -> None:
    names = ["10", "9", "-1", "2.5", "nan", "inf", "-inf", "1e999", "b", "a"]
    path = write(tmp_path / "a.csv", [(f"t{i} {n}", n) for n in names for i in range(10)])
    expected = ["-1", "2.5", "9", "10", "-inf", "1e999", "a", "b", "inf", "nan"]
    assert load_csv(options(path)).classes == expected


def rows_of(number: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"text {index}", "ab"[index % 2]) for index in range(start, start + number)]


@pytest.mark.parametrize(
    "names",
    [
        ("Train.csv", "VALID.tsv", "Test.CSV"),
        ("my_train.csv", "my_dev.csv", "my_test.csv"),
        ("training set.csv", "validation-set.csv", "testing.csv"),
    ],
)
def test_files_are_known_by_the_split_in_their_names(tmp_path: Path, names: tuple[str]) -> None:
    for start, name in zip((0, 20, 30), names, strict=True):
        path = write(tmp_path / "d" / name, rows_of(10, start))
        if name.endswith("tsv"):
            path.write_text(path.read_text().replace(",", "\t"))
    corpus = load_csv(options(tmp_path / "d"))
    assert [len(corpus.splits[split]) for split in ("train", "val", "test")] == [10, 10, 10]
    assert corpus.texts[corpus.splits["val"][0]] == "text 20"


def test_other_files_of_the_folder_are_counted(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "test_labels.csv", "sample_submission.csv"):
        write(tmp_path / name, rows_of(20))
    for name in ("README.md", ".hidden", "Thumbs.db", "more/train.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    corpus = load_csv(options(tmp_path))
    others = ["README.md", "more/train.csv", "sample_submission.csv", "test_labels.csv"]
    assert corpus.not_read == others


def test_a_doubled_folder_of_an_unpacked_archive_counts_as_one(tmp_path: Path) -> None:
    for start, name in enumerate(("train.csv", "test.csv", "README.md")):
        write(tmp_path / "set" / "set" / name, rows_of(20, 20 * start))
    (tmp_path / "set" / ".DS_Store").touch()
    corpus = load_csv(options(tmp_path / "set"))
    assert len(corpus.splits["test"]) == 20
    assert corpus.not_read == ["README.md"]


def test_two_files_of_a_split_are_named(tmp_path: Path) -> None:
    for name in ("train_1.csv", "train_2.csv", "test.csv"):
        write(tmp_path / name, rows_of(20))
    with pytest.raises(InputError, match=r"train_1\.csv and train_2\.csv are both named after the"):
        load_csv(options(tmp_path))


def test_a_folder_of_texts_per_class_is_refused(tmp_path: Path) -> None:
    for name in ("neg", "pos"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text("a text")
    with pytest.raises(InputError, match="A folder of text files per class is not read"):
        load_csv(options(tmp_path))


def test_groups_are_a_column(tmp_path: Path) -> None:
    rows = [(f"text {index}", "ab"[index % 2], f"p{index // 10}") for index in range(100)]
    path = write(tmp_path / "a.csv", rows, "text", "label", "who")
    corpus = load_csv(options(path, group="who"))
    sides = {
        split: {corpus.groups["group"][index] for index in indexes}
        for split, indexes in corpus.splits.items()
    }
    assert [len(sides[split]) for split in ("train", "val", "test")] == [8, 1, 1]
    assert len(set.union(*sides.values())) == 10
    with pytest.raises(InputError, match=r"no column 'whom' \(chosen by data\.group\).*mean 'who'"):
        load_csv(options(path, group="whom"))


def test_groups_are_for_your_own_files() -> None:
    with pytest.raises(InputError, match=r"data\.group=who is for files of your own"):
        check_text({"name": "movie_reviews", "group": "who"})


def test_copies_in_given_files_are_said(tmp_path: Path) -> None:
    from attention_atlas.data.text.module import TextDataModule  # not in the processes above

    write(tmp_path / "train.csv", rows_of(20))
    write(tmp_path / "val.csv", rows_of(20, 100))
    write(tmp_path / "test.csv", rows_of(20, 18))
    module = TextDataModule("csv", path=str(tmp_path), vocab_size=100)
    module.setup()
    (note,) = module.notes
    assert note.startswith("2 of 20 samples of test are copies of samples that were trained on")


def test_all_rows_of_a_file_can_be_tested(tmp_path: Path) -> None:
    path = write(tmp_path / "new.csv", [("one", "b"), ("two", "b"), ("two", "b")])
    check_csv(options(path), is_divided=False)
    with pytest.raises(InputError, match="one class only"):
        check_csv(options(path))
    corpus = load_csv(options(path), tested_classes=["a", "b"])
    assert corpus.splits == {"test": [0, 1, 2]}
    assert (corpus.classes, corpus.labels) == (["a", "b"], [1, 1, 1])
    with pytest.raises(InputError, match=r"new\.csv, line 2: the label 'b' does not occur"):
        load_csv(options(path), tested_classes=["a"])
