"""Batches in an order that depends on seed and epoch alone, resumable at any batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

Batch = dict[str, Any]


class BatchDataset(ABC):
    """A map-style data set that returns a whole batch at once.

    Args:
        labels: The class index of each sample.
        sample_ids: One stable id per sample.
        groups: Values by which accuracy is reported: name -> one value per sample.
        lengths: Tokens of each sample; None if all samples have the same.
    """

    def __init__(
        self,
        labels: list[int],
        sample_ids: list[str],
        groups: Mapping[str, list[str]] | None = None,
        lengths: list[int] | None = None,
    ) -> None:
        self.labels = labels
        self.sample_ids = sample_ids
        self.groups = dict(groups or {})
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> Batch:
        """Return a raw batch."""

    def targets(self, indices: list[int]) -> Batch:
        """Return the part of a batch that all data sets share: `label`, `sample_id`, `groups`."""
        return {
            "label": torch.tensor([self.labels[index] for index in indices]),
            "sample_id": [self.sample_ids[index] for index in indices],
            "groups": {
                name: [values[index] for index in indices] for name, values in self.groups.items()
            },
        }


class PooledBatchSampler(Sampler[list[int]]):
    """Batches of sample indexes, shuffled, with samples of similar length in one batch.

    Padding costs as much as real tokens, so samples are shuffled, sorted by length within pools of
    `pool_size` batches, cut into batches, and the batches are shuffled again.

    Each rank takes every `num_ranks`-th sample of a global batch of `num_ranks * batch_size`. When
    shuffling, the last batch drops up to `num_ranks - 1` samples so that all ranks take the same
    number of steps. Without shuffling, no sample is dropped or repeated.

    Args:
        lengths: Tokens per sample, or None if all samples have the same.
        num_samples: Number of samples.
        batch_size: Samples per batch of a rank; the last batch may hold fewer.
        shuffle: Whether to draw a new order each epoch, from `seed` and the number of the epoch;
            without it, longer samples come last.
    """

    def __init__(
        self,
        lengths: Sequence[int] | None,
        num_samples: int,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        pool_size: int = 50,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        self.lengths = None if lengths is None else torch.as_tensor(lengths)
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.pool_size = pool_size
        self.rank = rank
        self.num_ranks = num_ranks
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        if not self.shuffle:
            own = len(range(self.rank, self.num_samples, self.num_ranks))
            return -(-own // self.batch_size)
        whole, rest = divmod(self.num_samples, self.batch_size * self.num_ranks)
        return whole + (rest >= self.num_ranks)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches()[self.start :]

    def _batches(self) -> list[list[int]]:
        if not self.shuffle:
            order = torch.arange(self.num_samples)
            if self.lengths is not None:
                order = torch.argsort(self.lengths, stable=True)
            return _cut(order[self.rank :: self.num_ranks], self.batch_size)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.num_samples, generator=generator)
        size = self.batch_size * self.num_ranks
        if self.lengths is None:
            return self._part_of_rank(_cut(order, size))
        pool = size * self.pool_size
        order = torch.cat(
            [part[torch.argsort(self.lengths[part])] for part in torch.split(order, pool)]
        )
        batches = _cut(order, size)
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return self._part_of_rank([batches[index] for index in shuffled])

    def _part_of_rank(self, batches: list[list[int]]) -> list[list[int]]:
        """Return the samples of this rank in each global batch."""
        return [
            batch[: len(batch) - len(batch) % self.num_ranks][self.rank :: self.num_ranks]
            for batch in batches
            if len(batch) >= self.num_ranks
        ]


def _cut(order: torch.Tensor, size: int) -> list[list[int]]:
    return [part.tolist() for part in torch.split(order, size)]


def _identity(batch: Batch) -> Batch:
    return batch


class ResumableLoader(DataLoader[Batch]):
    """A DataLoader whose position can be saved and resumed in a new process.

    Its state is the epoch and the number of batches returned in it; the order of each epoch follows
    from the seed. It draws nothing from torch's global generator.
    """

    def __init__(
        self, dataset: BatchDataset, batch_sampler: PooledBatchSampler, **options: Any
    ) -> None:
        super().__init__(
            dataset,  # type: ignore[arg-type]
            batch_sampler=batch_sampler,
            collate_fn=_identity,  # type: ignore[arg-type]
            generator=torch.Generator().manual_seed(batch_sampler.seed),
            **options,
        )
        self._epoch = 0
        self._position = 0
        self._resumed = False

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Iterate over the batches, from the position of a state that was loaded before."""
        if self._position > 0 and not self._resumed:  # the last pass was not completed
            self._epoch, self._position = self._epoch + 1, 0
        self._resumed = False
        sampler = self.batch_sampler
        assert isinstance(sampler, PooledBatchSampler)
        sampler.epoch, sampler.start = self._epoch, self._position
        for batch in super().__iter__():
            self._position += 1
            if self._position == len(self):
                self._epoch, self._position = self._epoch + 1, 0
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return epoch and position of the next batch."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume from a state."""
        self._epoch, self._position = state["epoch"], state["position"]
        self._resumed = True
