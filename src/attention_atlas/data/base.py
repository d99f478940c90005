"""The data module of all modalities: splits, loaders, and the path of a batch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from attention_atlas.data.loader import (
    Batch,
    BatchDataset,
    PooledBatchSampler,
    ResumableLoader,
)
from attention_atlas.data.options import DataOptions
from attention_atlas.data.splits import SPLIT_VERSION, describe_copies, stable_hash
from attention_atlas.data.user_inputs import UserInput
from attention_atlas.run_folder import PRETRAINED

DisplayInputs = dict[str, list[str] | np.ndarray]


class AtlasDataModule(ABC):
    """Labelled data of one modality in the splits `train`, `val` and `test`.

    A batch is a dict with `inputs`, `label` [B], `sample_id` (list of str); with `lengths` [B] if
    samples differ in length, and `groups` (name -> one str per sample) by which test accuracy is
    reported too.

    The arguments are described in `DataOptions`.

    Attributes:
        classes: Names of the classes.
        datasets: The data set of each split.
        not_read: Names of files in the folder of the data that were not read.
        notes: What a user should know about the data, a line each.
        contents: A key per sample of each split, the same for identical ones; empty where the data
            is not of the user's own files, or too large.
        split_version: Version of the rule that divides the data.
        tested_classes: Classes of a model that is tested on all of your own files, which are not
            divided unless they come in splits; None divides them.
        clip_seconds: Length of the input of sound in seconds; infinite for other modalities.
        leading_tokens: Names of the tokens that preprocessing puts before each input.
        trailing_tokens: Names of the tokens that it puts behind each input.
        preprocessor: Tokenizer, image processor or feature extractor of a pretrained model; None
            without such a model.
    """

    modality: ClassVar[str]
    classes: list[str]
    datasets: dict[str, BatchDataset]
    clip_seconds: float = math.inf
    leading_tokens: Sequence[str] = ()
    trailing_tokens: Sequence[str] = ()

    def __init__(self, options: DataOptions) -> None:
        self.trainer: Any = None  # set by Lightning
        self.name = options.name
        self.batch_size = options.batch_size
        self.eval_batch_size = options.eval_batch_size or 2 * options.batch_size
        self.num_workers = options.num_workers
        self.seed = options.seed
        self.datasets = {}
        self.not_read: list[str] = []
        self.notes: list[str] = []
        self.contents: dict[str, list[str]] = {}
        self.split_version = SPLIT_VERSION
        self.tested_classes: list[str] | None = None
        self.test_split = "test"
        self._train_loader: ResumableLoader | None = None
        self._resume_state: dict[str, int] | None = None
        self.pretrained_name: str | None = None
        self.preprocessor: Any = None

    def use_pretrained(self, name: str) -> None:
        """Prepare inputs by the preprocessing of a pretrained model; call before `setup`.

        Raises:
            InputError: The model cannot be loaded, or does not fit the modality.
        """
        from attention_atlas.pretrained.source import load_config  # transformers is slow to import

        load_config(name)  # a model without a config is reported before its preprocessing
        self.pretrained_name = name
        self.preprocessor = self.load_preprocessor(name)

    @abstractmethod
    def load_preprocessor(self, name: str) -> Any:
        """Load the preprocessing of a pretrained model.

        Raises:
            InputError: It cannot be loaded, or does not fit the modality.
        """

    @abstractmethod
    def load(self) -> dict[str, BatchDataset]:
        """Read and split the data, and set `classes`.

        Raises:
            InputError: The data is missing or cannot be used.
        """

    @abstractmethod
    def prepare(self, batch: Batch, training: bool) -> Batch:
        """Augment a raw batch (when training) and make the inputs of the model, on its device."""

    @abstractmethod
    def make_dataset(self, inputs: Sequence[UserInput]) -> BatchDataset:
        """Return a data set of user inputs, which are prepared like the data.

        Call `setup` or `restore` first.

        Raises:
            InputError: A file cannot be read.
        """

    @abstractmethod
    def dummy_batch(self) -> Batch:
        """Return a raw batch of one sample without content, in the shape of real ones."""

    @abstractmethod
    def embedding_options(self, embed_dim: int, options: dict[str, Any]) -> dict[str, Any]:
        """Return the keywords of the embedding from the `embedding` config node and the data."""

    @abstractmethod
    def display_inputs(self, batch: Batch) -> DisplayInputs:
        """Return the inputs of a prepared batch in the form in which an atlas shows them."""

    @abstractmethod
    def baseline_features(self, split: str) -> list[str] | np.ndarray:
        """Return the inputs of the classical baseline: texts, or numbers [samples, features]."""

    def augmented_features(self) -> np.ndarray | None:
        """Return the same of the training split, changed by the augmentation of inputs.

        Each call draws again. None without such augmentation: masked words and mixed samples do not
        count.
        """
        return None

    def setup(self, stage: str | None = None) -> None:
        """Read and split the data once."""
        if not self.datasets:
            self.datasets = self.load()
            self.notes += describe_copies(self.contents, set(self._train_contents))

    def save(self, folder: Path) -> None:
        """Write the preprocessing, and what was learned from training data, to a run folder."""
        if self.pretrained_name is not None:
            from attention_atlas.pretrained.source import load_config

            load_config(self.pretrained_name).save_pretrained(folder / PRETRAINED)
            self.preprocessor.save_pretrained(folder / PRETRAINED)

    def restore(self, folder: Path) -> None:  # noqa: B027
        """Read what `save` wrote; call before `setup`."""

    def restore_vocabulary(self, folder: Path) -> None:  # noqa: B027
        """Read the part of it that the embedding depends on; call before `setup`."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Prepare a batch on the device of the model, with augmentation in training only."""
        return self.prepare(batch, training=bool(self.trainer and self.trainer.training))

    def train_dataloader(self) -> ResumableLoader:
        """Return batches of the training split, in a new order each epoch.

        With `overfit_batches` the order stays the same.
        """
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0
        self._train_loader = self.loader("train", self.batch_size, shuffle=not overfit)
        if self._resume_state is not None:
            self._train_loader.load_state_dict(self._resume_state)
            self._resume_state = None
        return self._train_loader

    def val_dataloader(self) -> ResumableLoader:
        """Return batches of the validation split."""
        return self.loader("val", self.eval_batch_size)

    def test_dataloader(self) -> ResumableLoader:
        """Return batches of the split named by `test_split`."""
        return self.loader(self.test_split, self.eval_batch_size)

    def loader(self, split: str, batch_size: int, shuffle: bool = False) -> ResumableLoader:
        """Return batches of a split by name."""
        dataset = self.datasets[split]
        ranks = (
            {}
            if self.trainer is None
            else {"rank": self.trainer.global_rank, "num_ranks": self.trainer.world_size}
        )
        sampler = PooledBatchSampler(
            dataset.lengths, len(dataset), batch_size, shuffle=shuffle, seed=self.seed, **ranks
        )
        workers: dict[str, Any] = {"num_workers": self.num_workers}
        if self.num_workers:
            workers |= {"persistent_workers": True, "prefetch_factor": 4}
        return ResumableLoader(dataset, sampler, pin_memory=torch.cuda.is_available(), **workers)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training order, and a digest of the samples."""
        if self._train_loader is None:
            return {}
        order = self._train_loader.state_dict()
        if self.trainer is not None and order["position"] == self.trainer.num_training_batches:
            order = {"epoch": order["epoch"] + 1, "position": 0}  # limit_train_batches ended it
        return {
            "order": order,
            "samples": self.samples_digest(),
            "split_version": self.split_version,
            "train_contents": torch.tensor(self._train_contents, dtype=torch.uint64),
        }

    @cached_property
    def _train_contents(self) -> list[int]:
        """Hashes of the content of the training samples, each once."""
        return sorted({stable_hash(key) for key in self.contents.get("train", [])})

    def copies_of(self, state_dict: Mapping[str, Any]) -> list[str]:
        """Say how many samples the training of a checkpoint saw, a line for each split."""
        trained = state_dict.get("train_contents", torch.tensor([], dtype=torch.uint64))
        return describe_copies(self.contents, set(trained.tolist()))

    def samples_digest(self) -> str:
        """Return a digest of the samples of each split and their labels."""
        splits = {
            split: sorted(zip(data.sample_ids, data.labels, strict=True))
            for split, data in sorted(self.datasets.items())
        }
        return f"{stable_hash(splits):016x}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the training order of a checkpoint."""
        order = state_dict.get("order")
        if order is not None and self._train_loader is not None:
            self._train_loader.load_state_dict(order)  # a sharded model makes it before
        else:
            self._resume_state = order
