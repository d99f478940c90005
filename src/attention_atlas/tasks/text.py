"""Sentiment of a text."""

import torch

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.text.module import TextDataModule
from attention_atlas.encoder import Embedding, TextEmbedding
from attention_atlas.tasks.base import ClassificationTask, Options


class TextTask(ClassificationTask):
    """Classify texts by their tokens."""

    modality = "text"

    @staticmethod
    def make_embedding(datamodule: AtlasDataModule, embed_dim: int, options: Options) -> Embedding:
        """Token vectors that start at random, or from which words stand together in training.

        Of the options, `num_pairs` says how many frequent pairs get vectors of their own.
        """
        assert isinstance(datamodule, TextDataModule)
        options = dict(options)
        vectors = None
        if options.pop("init") == "cooccurrence":
            vectors = torch.from_numpy(datamodule.embedding_vectors(embed_dim))
        pairs = torch.from_numpy(datamodule.token_pairs(options.pop("num_pairs")))
        return TextEmbedding(
            vocab_size=datamodule.vocab_size,
            embed_dim=embed_dim,
            max_length=datamodule.max_length,
            vectors=vectors,
            pairs=pairs,
            **options,
        )
