"""Byte-pair encoding trained on the training texts (Sennrich 2016), with character spans."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from attention_atlas.data.text.markup import TAG
from attention_atlas.errors import InputError
from attention_atlas.run_folder import MAX_BYTES

PAD, UNKNOWN, MASK = 0, 1, 2
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[MASK]"]

WORD_OR_PUNCTUATION = r"\w+(?:'\w+)*|[^\w\s]"
RARE = 5  # a less frequent character is unknown
CHUNK = 1000  # texts encoded at once: encodings are Python objects, which take much memory
CHUNK_CHARACTERS = 1_000_000  # in texts encoded at once

LONG_WORD = re.compile(r"[^\s!-&(-/:-@\[-^`{-~]{100}")
"""The first characters of a longer word; the time to learn from a word is quadratic in its length.
"""


@dataclass(frozen=True)
class SpecialTokens:
    """Special token ids.

    Attributes:
        pad: Padding of a batch.
        unknown: Text outside of the vocabulary.
        mask: Replacement of a masked token.
        before: Tokens before every text, such as CLS.
        after: Tokens behind every text, such as SEP.
        max_tokens: Maximum number of tokens between them; None if unlimited.
    """

    pad: int = PAD
    unknown: int = UNKNOWN
    mask: int = MASK
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    max_tokens: int | None = None


@dataclass(frozen=True)
class EncodedTexts:
    """The concatenated tokens of many texts.

    Attributes:
        ids: [N] int32.
        spans: [N, 2] int32, the characters [start, end) of each token in its text.
        starts: [texts + 1] int64; text i has the tokens starts[i] to starts[i + 1].
    """

    ids: np.ndarray
    spans: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per text, [texts]."""
        return np.diff(self.starts)


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Train a vocabulary of lower-case words and punctuation, with rare words in pieces.

    A tag counts as a space, and no token contains a space, or punctuation and a word. The result
    depends on the texts, not on their order.
    """
    texts = [LONG_WORD.sub(r"\g<0> ", text) for text in texts]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(TAG), " "),
            normalizers.Replace("’", "'"),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(WORD_OR_PUNCTUATION), behavior="removed", invert=True
    )
    alphabet = _alphabet(texts, tokenizer.normalizer, vocab_size // 2)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _alphabet(texts: Sequence[str], normalizer: normalizers.Normalizer, limit: int) -> list[str]:
    """Choose the alphabet; the trainer would break ties between rare characters at random."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    order = sorted(counts, key=lambda character: (-counts[character], character))
    common = [character for character in order if counts[character] >= RARE]
    return [character for character in (common or order) if not character.isspace()][:limit]


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`.

    Raises:
        InputError: The file is missing, not a tokenizer, or has other special tokens.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected the tokenizer.json of a run folder.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is not a tokenizer file: it is larger than {MAX_BYTES} bytes.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises a bare Exception
        raise InputError(f"{path} is not a tokenizer file: {error}.") from None
    found = [tokenizer.id_to_token(index) for index in range(len(SPECIAL_TOKENS))]
    if found != SPECIAL_TOKENS:
        raise InputError(f"{path} begins with the tokens {found}, expected {SPECIAL_TOKENS}.")
    return tokenizer


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], unknown: int = UNKNOWN
) -> EncodedTexts:
    """Encode texts; a text without any token becomes one unknown token."""
    ids, spans, lengths = [], [], []
    for encoding, text in zip(_encodings(tokenizer, texts), texts, strict=True):
        ids.append(np.asarray(encoding.ids or [unknown], dtype=np.int32))
        spans.append(np.asarray(encoding.offsets or [(0, len(text))], dtype=np.int32))
        lengths.append(len(ids[-1]))
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return EncodedTexts(np.concatenate(ids), np.concatenate(spans), starts)


def _encodings(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[Encoding]:
    for chunk in _chunks(texts):
        yield from tokenizer.encode_batch(chunk, add_special_tokens=False)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Divide texts into lists of few texts and few characters."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        if chunk and (len(chunk) == CHUNK or size + len(text) > CHUNK_CHARACTERS):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    if chunk:
        yield chunk
