"""What the data modules of all modalities share: loaders, order, and the path of a batch."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from attention_atlas.data.loader import (
    Batch,
    BatchDataset,
    PooledBatchSampler,
    ResumableLoader,
)
from attention_atlas.data.splits import stable_hash
from attention_atlas.data.user_inputs import UserInput

DisplayInputs = dict[str, list[str] | np.ndarray]

PRETRAINED_FOLDER = "pretrained"
"""Where a run folder keeps what tells of its pretrained encoder, but for the weights."""


class AtlasDataModule(LightningDataModule):
    """Real data of one modality in the splits `train`, `val` and `test`.

    A batch is a dict with `inputs`, `label` [B], `sample_id` (list of str), where samples differ in
    length `lengths` [B], and where the data set tells more than the label `groups`
    (name -> one str per sample), by which test accuracy is reported too.

    Args:
        batch_size: Samples per training batch of one process.
        eval_batch_size: Samples per evaluation batch, by default twice `batch_size`.
        num_workers: Processes that load batches; 0 loads in the main process, which is fastest
            for data that is held in memory.
        seed: Draws the split and the order of the batches.
    """

    modality: ClassVar[str]
    name: str
    classes: list[str]
    datasets: dict[str, BatchDataset]
    clip_seconds: float = math.inf  # of sound that the model hears
    leading_tokens: Sequence[str] = ()  # names of those that it puts before each input
    trailing_tokens: Sequence[str] = ()  # and of those behind it

    def __init__(
        self,
        batch_size: int,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or 2 * batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.datasets = {}
        self.test_split = "test"
        self._train_loader: ResumableLoader | None = None
        self._resume_state: dict[str, int] | None = None
        self.pretrained_name: str | None = None

    def use_pretrained(self, name: str) -> None:
        """Make the inputs of a pretrained model, by what it was trained with; before `setup`.

        Args:
            name: A hub id, a folder, or the short name of a package.

        Raises:
            InputError: It cannot be loaded, or does not fit the modality.
        """
        from attention_atlas.pretrained.source import load_config  # transformers is slow

        load_config(name)  # where there is none, nothing else need be looked for
        self.pretrained_name = name

    @abstractmethod
    def load(self) -> dict[str, BatchDataset]:
        """Read the data and split it; sets `classes` too.

        Raises:
            InputError: The data is missing or cannot be used.
        """

    @abstractmethod
    def prepare(self, batch: Batch, training: bool) -> Batch:
        """Augment (when training) and turn raw inputs into what the model takes, on its device."""

    @abstractmethod
    def make_dataset(self, given: Sequence[UserInput]) -> BatchDataset:
        """A data set of inputs that are given by hand, prepared as those of the data.

        What was learned from training data must be there: by `setup`, or by `restore`.

        Raises:
            InputError: A file cannot be read.
        """

    @abstractmethod
    def dummy_batch(self) -> Batch:
        """A raw batch of one sample that says nothing, of the shape that all have."""

    @abstractmethod
    def embedding_options(self, embed_dim: int, options: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of the embedding that fits the data, but for `embed_dim`.

        Args:
            embed_dim: D.
            options: The `embedding` config node.
        """

    @abstractmethod
    def display_inputs(self, batch: Batch) -> DisplayInputs:
        """What the atlas keeps of a prepared batch so that its samples can be drawn."""

    @abstractmethod
    def baseline_features(self, split: str) -> list[str] | np.ndarray:
        """What the classical baseline sees of a split: texts, or numbers [samples, features]."""

    def setup(self, stage: str | None = None) -> None:
        """Read and split the data once."""
        if not self.datasets:
            self.datasets = self.load()

    def save(self, folder: Path) -> None:
        """Write into a run folder what was learned from the training split, if anything."""
        if self.pretrained_name is not None:
            from attention_atlas.pretrained.source import load_config  # transformers is slow

            load_config(self.pretrained_name).save_pretrained(folder / PRETRAINED_FOLDER)

    def restore(self, folder: Path) -> None:
        """Take from a run folder what `save` wrote there; called before `setup`."""

    def restore_vocabulary(self, folder: Path) -> None:
        """Take from a run folder what its embedding counts on, if anything; before `setup`."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Prepare a batch where the model is, with augmentation in training batches only."""
        return self.prepare(batch, training=bool(self.trainer and self.trainer.training))

    def train_dataloader(self) -> ResumableLoader:
        """Batches of the training split, in a new order each epoch.

        The order stays as it is where the trainer is told to overfit the same few batches.
        """
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        self._train_loader = self.loader("train", self.batch_size, shuffle=not overfit)
        if self._resume_state is not None:
            self._train_loader.load_state_dict(self._resume_state)
            self._resume_state = None
        return self._train_loader

    def val_dataloader(self) -> ResumableLoader:
        """Batches of the validation split."""
        return self.loader("val", self.eval_batch_size)

    def test_dataloader(self) -> ResumableLoader:
        """Batches of the split that is tested, `test` unless `test_split` says otherwise."""
        return self.loader(self.test_split, self.eval_batch_size)

    def loader(self, split: str, batch_size: int, shuffle: bool = False) -> ResumableLoader:
        """Batches of a split by name."""
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
        """Where the training order stands."""
        if self._train_loader is None:
            return {}
        order = self._train_loader.state_dict()
        if self.trainer is not None and order["position"] == self.trainer.num_training_batches:
            order = {"epoch": order["epoch"] + 1, "position": 0}  # limit_train_batches ended it
        return {"order": order, "samples": self.samples_digest()}

    def samples_digest(self) -> str:
        """A digest of which samples are in which split, and of their labels."""
        splits = {
            split: sorted(zip(data.sample_ids, data.labels, strict=True))
            for split, data in sorted(self.datasets.items())
        }
        return f"{stable_hash(splits):016x}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the training order of a checkpoint."""
        order = state_dict.get("order")
        if order is not None and self._train_loader is not None:
            self._train_loader.load_state_dict(order)  # made early, as for a sharded model
        else:
            self._resume_state = order
