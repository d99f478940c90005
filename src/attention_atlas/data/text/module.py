"""The data module of texts, tokenized and batched."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy
import tokenizers
import torch
from tokenizers import Tokenizer

from attention_atlas.data.base import AtlasDataModule, DisplayInputs
from attention_atlas.data.cache import cached, digest_of
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.options import read_options
from attention_atlas.data.splits import pick
from attention_atlas.data.text.cooccurrence import cooccurrence_vectors, frequent_pairs
from attention_atlas.data.text.corpora import TextCorpus
from attention_atlas.data.text.csv_files import load_csv
from attention_atlas.data.text.dataset import (
    TextDataset,
    add_special_tokens,
    drop_words,
    random_windows,
)
from attention_atlas.data.text.options import TextAugmentationOptions, TextOptions
from attention_atlas.data.text.sources import find_reader
from attention_atlas.data.text.tokenizer import (
    EncodedTexts,
    SpecialTokens,
    encode_texts,
    load_tokenizer,
    train_tokenizer,
)
from attention_atlas.data.user_inputs import UserInput, label_indexes
from attention_atlas.errors import InputError
from attention_atlas.input_files import open_regular
from attention_atlas.output_files import draft
from attention_atlas.run_folder import TOKEN_PAIRS, TOKENIZER


class TextDataModule(AtlasDataModule):
    """Texts with one label each.

    `inputs` are token ids [B, K], padded to the longest text of the batch, of which `lengths` [B]
    are valid. Evaluation batches carry `text` (B str) and `spans` [B, K, 2], the
    characters [start, end) that each token stands for.

    The arguments are described in `TextOptions`.

    Raises:
        InputError: An option is out of range.
    """

    modality: ClassVar[str] = "text"

    def __init__(self, name: str, **options: Any) -> None:
        self.options = read_options(TextOptions, {"name": name, **options}, "data.")
        super().__init__(self.options)
        self.max_length = self.options.max_length
        self.tokenizer_path = self.options.tokenizer_path
        augmentation = read_options(
            TextAugmentationOptions, self.options.augmentation, "augmentation."
        )
        self.word_dropout = augmentation.word_dropout
        crop_length = augmentation.crop_length
        self.crop_length = None if crop_length is None else min(crop_length, self.max_length)
        self.tokenizer: Tokenizer
        self.encoded: EncodedTexts
        self.train_indexes: list[int]
        self.pairs: np.ndarray | None = None
        self.special = SpecialTokens()

    def load_preprocessor(self, name: str) -> Any:
        """Load the tokenizer of a pretrained model, and the tokens it puts around a text."""
        from attention_atlas.data.text import pretrained_tokenizer

        loaded = pretrained_tokenizer.load_pretrained_tokenizer(name)
        self.tokenizer = pretrained_tokenizer.plain_tokenizer(loaded)
        self.special = pretrained_tokenizer.special_tokens(name, loaded)
        self.leading_tokens = loaded.convert_ids_to_tokens(list(self.special.before))
        self.trailing_tokens = loaded.convert_ids_to_tokens(list(self.special.after))
        if self.special.max_tokens is not None:
            self.max_length = min(self.max_length, self.special.max_tokens)
        if self.crop_length is not None:
            self.crop_length = min(self.crop_length, self.max_length)
        return loaded

    def load(self) -> dict[str, BatchDataset]:
        """Read, split and tokenize the texts.

        Raises:
            InputError: The texts or the tokenizer cannot be used.
        """
        if self.tested_classes is None:
            corpus = find_reader(self.options).load(self.options, self.split_version)
        else:
            corpus = load_csv(self.options, self.tested_classes)
        self.classes, self.not_read = corpus.classes, corpus.not_read
        if corpus.contents is not None:
            self.contents = pick(corpus.contents, corpus.splits)
        self.train_indexes = corpus.splits.get("train", [])
        self.tokenizer = self._find_tokenizer([corpus.texts[index] for index in self.train_indexes])
        self.encoded = _encode(self.tokenizer, corpus.texts, self.special.unknown)
        datasets: dict[str, BatchDataset] = {
            split: self._evaluation_dataset(corpus, self.encoded, corpus.splits[split])
            for split in ("val", "test")
            if split in corpus.splits
        }
        if self.train_indexes:
            datasets["train"] = TextDataset(
                corpus,
                self.encoded,
                self.train_indexes,
                max_length=None if self.crop_length else self.max_length,
                pooled_length=self.crop_length or self.max_length,
                with_texts=False,
                pad=self.special.pad,
            )
        return datasets

    def _evaluation_dataset(
        self, corpus: TextCorpus, encoded: EncodedTexts, indexes: Sequence[int]
    ) -> TextDataset:
        return TextDataset(
            corpus,
            encoded,
            indexes,
            max_length=self.max_length,
            pooled_length=self.max_length,
            with_texts=True,
            pad=self.special.pad,
        )

    def make_dataset(self, inputs: Sequence[UserInput]) -> BatchDataset:
        """Return a data set of texts."""
        texts = [str(each.content) for each in inputs]
        encoded = encode_texts(self.tokenizer, texts, self.special.unknown)
        names = [each.name for each in inputs]
        corpus = TextCorpus(texts, label_indexes(inputs, self.classes), self.classes, names, {})
        return self._evaluation_dataset(corpus, encoded, range(len(texts)))

    def dummy_batch(self) -> Batch:
        """Return the text `a`."""
        return self.make_dataset([UserInput("dummy", "a")])[0]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, and the frequent bigrams if the model has them."""
        super().save(folder)
        if self.preprocessor is not None:
            return
        with draft(folder / TOKENIZER) as unfinished:
            self.tokenizer.save(str(unfinished))
        if self.pairs is not None:
            with draft(folder / TOKEN_PAIRS) as unfinished:
                np.save(unfinished, self.pairs)

    def restore(self, folder: Path) -> None:
        """Read the vocabulary, which is all that is learned from the data."""
        self.restore_vocabulary(folder)

    def restore_vocabulary(self, folder: Path) -> None:
        """Read the tokenizer and the frequent bigrams of a run folder."""
        if self.preprocessor is not None:
            return
        self.tokenizer_path = str(folder / TOKENIZER)
        self.tokenizer = load_tokenizer(folder / TOKENIZER)
        if os.path.lexists(folder / TOKEN_PAIRS):
            self.pairs = _read_pairs(folder / TOKEN_PAIRS)

    @property
    def vocab_size(self) -> int:
        """V, the number of token ids of the tokenizer."""
        return int(self.tokenizer.get_vocab_size())

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens of one input, special ones included."""
        return self.max_length + len(self.special.before) + len(self.special.after)

    def prepare(self, batch: Batch, training: bool) -> Batch:
        """Crop and mask words (when training), and add the special tokens of a pretrained model."""
        if training:
            ids, lengths = batch["inputs"], batch["lengths"]
            if self.crop_length:
                ids, lengths = random_windows(ids, lengths, self.crop_length, self.special.pad)
            if self.word_dropout:
                ids = drop_words(ids, lengths, self.word_dropout, self.special.mask)
            batch = batch | {"inputs": ids, "lengths": lengths}
        return add_special_tokens(batch, self.special)

    def display_inputs(self, batch: Batch) -> DisplayInputs:
        """Return the texts; the token layout holds the characters of each token."""
        return {"text": batch["text"]}

    def baseline_features(self, split: str) -> list[str]:
        """Return the texts of a split."""
        dataset = self.datasets[split]
        assert isinstance(dataset, TextDataset)
        return dataset.texts

    def embedding_options(self, embed_dim: int, options: dict[str, Any]) -> dict[str, Any]:
        """Add the vocabulary, initial token vectors, and the bigrams with vectors of their own.

        `options` are `init` (`random` or `cooccurrence`), `num_pairs` (maximum number of bigrams),
        and others that are passed on.
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
        """Return initial token vectors [V, dim] from the co-occurrences of the training texts."""
        return self._learn("vectors", partial(cooccurrence_vectors, dim=dim), {"dim": dim})

    def token_pairs(self, limit: int) -> np.ndarray:
        """Return frequent bigrams of the training texts, encoded as by `frequent_pairs`."""
        if self.pairs is None:
            self.pairs = self._learn(
                "pairs", partial(frequent_pairs, limit=limit), {"limit": limit}
            )
        return self.pairs

    def _learn(
        self, name: str, learn: Callable[[EncodedTexts, int], np.ndarray], options: dict[str, int]
    ) -> np.ndarray:
        """Return the cached result of `learn` on the tokens of the training texts."""
        encoded = _select(self.encoded, self.train_indexes)
        key = {
            "ids": digest_of([encoded.ids.tobytes(), encoded.starts.tobytes()]),
            "vocab_size": self.vocab_size,
            **options,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "sklearn": version("scikit-learn"),
            "format": 2,
        }

        def make(folder: Path) -> None:
            np.save(folder / f"{name}.npy", learn(encoded, self.vocab_size))

        learned: np.ndarray = np.load(cached(f"text-{name}", key, make) / f"{name}.npy")
        return learned

    def _find_tokenizer(self, texts: Sequence[str]) -> Tokenizer:
        """Return the tokenizer of an earlier run, or one trained on the training texts."""
        if self.preprocessor is not None:
            return self.tokenizer
        if self.tokenizer_path is not None:
            return load_tokenizer(Path(self.tokenizer_path))
        key = {
            "texts": digest_of(text.encode() for text in sorted(texts)),
            "vocab_size": self.options.vocab_size,
            "tokenizers": tokenizers.__version__,
            "format": 2,
        }

        def make(folder: Path) -> None:
            train_tokenizer(texts, self.options.vocab_size).save(str(folder / TOKENIZER))

        return load_tokenizer(cached("text-tokenizer", key, make) / TOKENIZER)


def _read_pairs(path: Path) -> np.ndarray:
    """Read the bigrams of a run; an array of pickled objects is refused."""
    with open_regular(path) as file:
        try:
            pairs: np.ndarray = np.load(file, allow_pickle=False)
            if pairs.dtype != np.int64 or pairs.ndim != 1:
                raise ValueError(f"it has {pairs.ndim} axes of {pairs.dtype}")
        except (OSError, EOFError, ValueError, MemoryError, AttributeError) as error:
            raise InputError(f"{path} holds no pairs of tokens: {error}.") from error
    return pairs


def _encode(tokenizer: Tokenizer, texts: Sequence[str], unknown: int) -> EncodedTexts:
    key = {
        "tokenizer": digest_of([tokenizer.to_str().encode()]),
        "texts": digest_of(text.encode() for text in texts),
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
    """Return the tokens of some texts."""
    chosen = np.zeros(len(encoded.lengths), dtype=bool)
    chosen[list(indexes)] = True
    tokens = np.repeat(chosen, encoded.lengths)
    starts = np.concatenate([[0], np.cumsum(encoded.lengths[chosen])])
    return EncodedTexts(encoded.ids[tokens], encoded.spans[tokens], starts)
