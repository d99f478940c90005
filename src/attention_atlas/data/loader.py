"""Batches in an order that depends on seed and epoch alone, and that can be taken up anywhere."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Sampler

Batch = dict[str, Any]


class BatchDataset(Protocol):
    """A data set that gives a whole batch at once."""

    labels: list[int]
    sample_ids: list[str]
    lengths: list[int] | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Batch: ...

    def __getitems__(self, indices: list[int]) -> Batch: ...


class PooledBatchSampler(Sampler[list[int]]):
    """Lists of sample indexes, shuffled, with samples of like length in one batch.

    Padding costs as much as real tokens, so samples are shuffled, sorted by length within pools of
    `pool_size` batches, cut into batches, and the batches are shuffled again.

    Several ranks share the batches of one process with `num_ranks` times the batch size: each takes
    its part of every one. Shuffled, the parts are of one size, for which fewer than `num_ranks`
    samples may be left out of the last batch, others in each epoch. Not shuffled, every sample is
    given out by one rank, once.

    Args:
        lengths: Tokens per sample, or None where all samples are alike.
        num_samples: How many samples there are.
        batch_size: Samples per batch of a rank; the last batch may hold fewer.
        shuffle: Whether to draw a new order each epoch; without it, longer samples come last.
        seed: With the epoch, all that the order depends on.
        pool_size: Batches per pool.
        rank: Of this process.
        num_ranks: Processes that share the samples.
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
            return self._shares(_cut(order, size))
        pool = size * self.pool_size
        order = torch.cat(
            [part[torch.argsort(self.lengths[part])] for part in torch.split(order, pool)]
        )
        batches = _cut(order, size)
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return self._shares([batches[index] for index in shuffled])

    def _shares(self, batches: list[list[int]]) -> list[list[int]]:
        """The part of this rank of every batch that has one for each."""
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
    """A DataLoader that knows how far it has come, and can start from there in a new process.

    Its state is the epoch and the number of batches given out in it; the order of each epoch
    follows from the seed. It draws nothing from torch's global generator.
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
        """Give the batches; a state that is loaded before the first of them still counts."""
        if self._position > 0 and not self._resumed:  # the last pass was left early
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
        """Epoch and position of the next batch."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from where `state` was taken."""
        self._epoch, self._position = state["epoch"], state["position"]
        self._resumed = True
