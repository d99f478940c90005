"""Inputs of odd sizes end in time and memory that grow with their size.

Sizes are such that what is quadratic would take minutes; the group `scale` of the benchmarks
measures how time grows.
"""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from attention_atlas.data.audio.corpora import _check_known as check_known_sounds
from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.data.image.reading import check_header, read_image
from attention_atlas.data.listing import LabelledFile
from attention_atlas.data.splits import FRACTIONS, divide
from attention_atlas.data.tables import read_table
from attention_atlas.data.text.corpora import normalise_text
from attention_atlas.data.text.csv_files import load_csv
from attention_atlas.data.text.labels import check_labels
from attention_atlas.data.text.options import TextOptions
from attention_atlas.data.text.tokenizer import encode_texts, train_tokenizer
from attention_atlas.errors import InputError

UNITS = {
    "one word": "w",
    "blanks": " ",
    "NULs": "letters a\0",
    "brackets": "<",
    "open tags": "<a ",
    "entities": "&#",
    "parentheses": "(,",
    "commas": ",",
    "lists": "[",
    "quotation marks": '"',
    "lines": "\n",
    "fractions": "½",
    "accents": "\u0301",
    "apostrophes": "w'",
}
SIZE = 1_000_000


def repeated(unit: str, size: int = SIZE) -> str:
    return (unit * (size // len(unit) + 1))[:size]


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_a_long_text_is_read_divided_and_tokenized(unit: str, tmp_path: Path) -> None:
    text = repeated(unit).replace('"', '""')
    rows = [f'"{text}",a', *(f"row {row},{'ab'[row % 2]}" for row in range(60))]
    path = tmp_path / "long.csv"
    path.write_text("\n".join(["text,label", *rows]))
    if not text.strip():
        with pytest.raises(InputError, match="the column 'text' is empty"):
            load_csv(TextOptions(name="csv", path=str(path)))
        return
    corpus = load_csv(TextOptions(name="csv", path=str(path)))
    assert len(corpus.texts[0]) in (SIZE, SIZE // 2)  # two quotation marks are one
    assert normalise_text(corpus.texts[0])
    tokenizer = train_tokenizer(corpus.texts, 200)
    assert len(encode_texts(tokenizer, corpus.texts).starts) == len(corpus.texts) + 1


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_a_long_label_is_checked(unit: str) -> None:
    for label in (repeated(unit), "(" + repeated(unit), "[" + repeated(unit)):
        check_labels([label, "b", "c"], ["a text of words", "b", "c"], "file")


@pytest.mark.parametrize("text", ["[a", "(a)", "a]", "[", "", "()"])
def test_a_label_with_a_bracket_is_a_name(text: str) -> None:
    check_labels([text, "b"], ["a text of words", "b"], "file")


@pytest.mark.parametrize("text", ["[a]", "[]", "{a: 1}", "(1, 2)", "(,)", "[a\nb]"])
def test_a_label_in_brackets_is_a_list(text: str) -> None:
    with pytest.raises(InputError, match="several labels"):
        check_labels([text, "b"], ["a text of words", "b"], "file")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one word", "blanks", "NULs", "brackets"])
def test_a_cell_of_50_megabytes_is_refused_in_bounded_memory(name: str, tmp_path: Path) -> None:
    size = 50_000_000
    path = tmp_path / "cell.csv"
    path.write_text(f'text,label\n"{repeated(UNITS[name], size)}",a\n')
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="line 2 holds a text of 50,000,000 characters"):
            read_table(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * size


READ = """
import sys
from pathlib import Path
from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.data.image.reading import read_image
path = Path(sys.argv[1])
print(read_image(path, ImageSource(ImageOptions(name="image_folder"))).min())
"""


@pytest.mark.slow
def test_a_picture_of_100_million_pixels_is_read_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (10_000, 10_000), "white").save(path)
    command = [sys.executable, "-W", "default", "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "255\n"
    assert "Decompression" not in done.stderr


def test_a_picture_that_is_too_large_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (20_000, 10_000)).save(path)
    for read in (
        check_header,
        lambda path: read_image(path, ImageSource(ImageOptions(name="image_folder"))),
    ):
        with pytest.raises(InputError, match=r"huge\.png has more than 178 million pixels"):
            read(path)


@pytest.mark.slow
def test_many_classes_are_indexed_once(tmp_path: Path) -> None:
    """A search among 30,000 classes for each of 90,000 rows would take minutes."""
    rows = [f"{index} text,class-{index % 30_000}" for index in range(90_000)]
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    corpus = load_csv(TextOptions(name="csv", path=str(tmp_path)))
    assert [corpus.classes[label] for label in corpus.labels[:90_000:9_999]] == [
        f"class-{index % 30_000}" for index in range(0, 90_000, 9_999)
    ]


@pytest.mark.slow
def test_groups_of_many_classes_are_divided() -> None:
    """A look at each of 60,000 groups for each of 20,000 classes would take many minutes."""
    samples = 120_000
    labels = [index % 20_000 for index in range(samples)]
    groups = [f"group {index // 2}" for index in range(samples)]
    ids = [str(index) for index in range(samples)]
    splits = divide([None] * samples, ids, labels, FRACTIONS, 0, groups=groups)
    assert sum(map(len, splits.values())) == samples
    assert {groups[index] for index in splits["test"]}.isdisjoint(
        groups[index] for index in splits["train"]
    )


def test_a_message_names_few_of_many_classes(tmp_path: Path) -> None:
    file = LabelledFile(tmp_path / "x.wav", "x", "other", None)
    with pytest.raises(InputError, match="and 2,988 more") as caught:
        check_known_sounds([file], [f"class {index}" for index in range(3_000)])
    assert len(str(caught.value)) < 500
