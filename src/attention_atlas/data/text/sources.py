"""The values of `data.name` for texts, and their readers. Needs no torch."""

import difflib
from collections.abc import Callable
from typing import NamedTuple

from attention_atlas.data.text.corpora import TextCorpus, TextSource
from attention_atlas.data.text.csv_files import load_csv
from attention_atlas.data.text.hub import check_hub_texts, load_hub_texts
from attention_atlas.data.text.movie_reviews import PARTS, load_movie_reviews, movie_reviews_file
from attention_atlas.errors import InputError


class Reader(NamedTuple):
    """Reads a corpus, and checks cheaply that it can be read."""

    load: Callable[[TextSource], TextCorpus]
    check: Callable[[TextSource], object]


READERS = {
    **dict.fromkeys(
        ("movie_reviews", *PARTS),
        Reader(load_movie_reviews, lambda source: movie_reviews_file()),
    ),
    "sst2": Reader(load_hub_texts, check_hub_texts),
    "imdb": Reader(load_hub_texts, check_hub_texts),
    "csv": Reader(load_csv, load_csv),  # a bad row is reported before anything slow starts
}


def find_reader(source: TextSource) -> Reader:
    """Return the reader of `source.name`.

    Raises:
        InputError: The name is unknown.
    """
    if source.name not in READERS:
        close = difflib.get_close_matches(source.name, READERS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise InputError(
            f"data.name='{source.name}' is unknown; expected one of {', '.join(READERS)}.{hint}"
        )
    return READERS[source.name]
