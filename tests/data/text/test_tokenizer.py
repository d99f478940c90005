"""Byte-pair encoding: learned from the training texts, exact to the character."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from attention_atlas.data.text import tokenizer as tokenizer_module
from attention_atlas.data.text.corpora import normalise_text
from attention_atlas.data.text.tokenizer import (
    SPECIAL_TOKENS,
    UNKNOWN,
    _chunks,
    encode_texts,
    load_tokenizer,
    train_tokenizer,
)
from attention_atlas.errors import InputError

TEXTS = [
    "It's a good movie, really good 😀 <br /><br />see it!",
    "a bad movie. not good at all",
    "un cafe\u0301 noir, tre\u0300s bon 👍🏽",
] * 10


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, vocab_size=150)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    encoded = encode_texts(tokenizer, [text])
    return [text[start:end] for start, end in encoded.spans.tolist()]


def test_special_tokens_come_first(tokenizer: Tokenizer) -> None:
    assert [tokenizer.id_to_token(index) for index in range(3)] == SPECIAL_TOKENS
    assert tokenizer.get_vocab_size() <= 150


def test_spans_index_the_characters_of_the_text(tokenizer: Tokenizer) -> None:
    text = "Good 😀👍🏽 cafe\u0301!<br />IT\u2019S bad"
    assert pieces(tokenizer, text) == [
        "Good",
        "😀",
        "👍",
        "🏽",
        "cafe\u0301",
        "!",
        "IT\u2019S",
        "bad",
    ]
    ids = encode_texts(tokenizer, [text]).ids.tolist()
    assert UNKNOWN not in ids
    assert ids[-2] == encode_texts(tokenizer, ["it's"]).ids.tolist()[0]


def test_markup_is_a_space(tokenizer: Tokenizer) -> None:
    assert pieces(tokenizer, "good<br />bad") == ["good", "bad"]
    assert pieces(tokenizer, "1 < 2 and good")[1] == "<"
    link = f'good<a href="{"long/" * 50}">bad</a>'
    assert pieces(tokenizer, link) == ["good", "bad"]


WORDS = st.sampled_from(["good", "bad", "movie", "a", "not", "3", "1"])


@given(
    st.lists(st.tuples(WORDS, st.sampled_from([" ", " < ", " > ", " <3 ", " >:( ", " <- ", "<"])))
)
@settings(max_examples=100, deadline=None)
def test_signs_that_are_not_tags_take_nothing_out(tokenizer: Tokenizer, parts) -> None:
    text = "".join(word + sign for word, sign in parts)
    assume(not re.search("<[a-z]", text))
    letters = [character for piece in pieces(tokenizer, text) for character in piece]
    assert letters == [character for character in text if not character.isspace()] or not parts


def test_a_heart_takes_nothing_out(tokenizer: Tokenizer) -> None:
    found = "".join(pieces(tokenizer, "I <3 great film, fun and lovely> awful"))
    assert found == "I<3greatfilm,funandlovely>awful"


@pytest.mark.parametrize("part", ["a", "ab'", "<", "<a", "&#9"])
def test_one_long_word_takes_linear_time(part: str) -> None:
    text = part * (1_000_000 // len(part))  # in quadratic time it would take half an hour
    tokenizer = train_tokenizer([*TEXTS, text], vocab_size=200)
    assert max(map(len, tokenizer.get_vocab())) <= 100
    assert normalise_text(text)


def test_long_texts_are_encoded_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_module, "CHUNK_CHARACTERS", 10)
    found = list(_chunks(["abc", "abcdefgh", "", "a" * 30, "b"]))
    assert found == [["abc"], ["abcdefgh", ""], ["a" * 30], ["b"]]


@given(st.lists(st.sampled_from([*"abdgo 'é😀\u0301\u200d<>\n", "İ", "ß", "good"])).map("".join))
@settings(max_examples=200, deadline=None)
def test_tokens_follow_one_another_inside_the_text(tokenizer: Tokenizer, text: str) -> None:
    encoded = encode_texts(tokenizer, [text])
    start, end = encoded.spans[:, 0], encoded.spans[:, 1]
    assert len(encoded.ids) >= 1
    assert (start[1:] >= start[:-1]).all()
    assert (end <= len(text)).all()
    assert (end >= start).all()
    read = {place for a, b in encoded.spans.tolist() for place in range(a, b)}
    letters = {place for place, character in enumerate(text) if character.isalpha()}
    assert letters <= read or "<" in text


def test_texts_lie_end_to_end(tokenizer: Tokenizer) -> None:
    encoded = encode_texts(tokenizer, ["a good movie", "", "bad"])
    assert encoded.lengths.tolist() == [3, 1, 1]
    assert encoded.starts.tolist() == [0, 3, 4, 5]
    assert encoded.ids[3] == UNKNOWN
    assert encoded.ids.dtype == encoded.spans.dtype == np.int32


def test_the_order_of_the_texts_does_not_matter(tokenizer: Tokenizer) -> None:
    shuffled = TEXTS.copy()
    random.Random(0).shuffle(shuffled)
    assert train_tokenizer(shuffled, vocab_size=150).to_str() == tokenizer.to_str()


def test_a_saved_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert again.to_str() == tokenizer.to_str()


def test_a_file_that_is_not_a_tokenizer_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json does not exist"):
        load_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer file"):
        load_tokenizer(tmp_path / "tokenizer.json")
    Tokenizer.from_str(train_tokenizer(TEXTS, 100).to_str().replace("[MASK]", "[HIDE]")).save(
        str(tmp_path / "tokenizer.json")
    )
    with pytest.raises(InputError, match=r"begins with the tokens .*expected"):
        load_tokenizer(tmp_path / "tokenizer.json")
