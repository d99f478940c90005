"""The order of batches: reproducible, pooled by length, resumable anywhere."""

from itertools import chain

import pytest
import torch

from attention_atlas.data.loader import PooledBatchSampler, ResumableLoader


class Numbers:
    def __init__(self, lengths: list[int]) -> None:
        self.labels = [0] * len(lengths)
        self.sample_ids = [str(index) for index in range(len(lengths))]
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> dict:
        return {"sample_id": [self.sample_ids[index] for index in indices]}


def loader(num_workers: int = 0, **options) -> ResumableLoader:
    lengths = [(7 * index) % 31 for index in range(103)]
    sampler = PooledBatchSampler(lengths, 103, 10, shuffle=True, seed=3, **options)
    return ResumableLoader(Numbers(lengths), sampler, num_workers=num_workers)


def ids(batches) -> list[list[str]]:
    return [batch["sample_id"] for batch in batches]


def test_every_epoch_holds_every_sample_once_in_a_new_order() -> None:
    batches = loader()
    first, second = ids(batches), ids(batches)
    everything = sorted(map(str, range(103)))
    assert sorted(chain(*first)) == sorted(chain(*second)) == everything
    assert first != second
    assert first == ids(loader())


def test_pooling_puts_like_lengths_into_one_batch() -> None:
    lengths = [(7 * index) % 31 for index in range(103)]

    def padding(batches: list[list[str]]) -> int:
        sizes = [[lengths[int(sample)] for sample in batch] for batch in batches]
        return sum(max(size) * len(size) - sum(size) for size in sizes)

    assert padding(ids(loader(pool_size=11))) < 0.35 * padding(ids(loader(pool_size=1)))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("position", [0, 4, 10, 11, 15])
def test_a_new_loader_continues_where_the_state_was_taken(num_workers: int, position: int) -> None:
    whole = loader()
    expected = ids(whole) + ids(whole) + ids(whole)

    interrupted = loader(num_workers)
    seen = 0
    while seen < position:
        for _ in interrupted:
            seen += 1
            if seen == position:
                state = interrupted.state_dict()
                break
    state = interrupted.state_dict()

    resumed = loader(num_workers)
    resumed.load_state_dict(state)
    assert ids(resumed) + ids(resumed) == expected[position : position + 22 - position % 11]


def test_a_pass_that_is_left_early_does_not_shift_the_next_epoch() -> None:
    left = loader()
    next(iter(left))
    whole = loader()
    ids(whole)
    assert ids(left) == ids(whole)


def test_loading_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    ids(loader())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("lengths", [None, list(range(103))])
@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_share_the_batches_of_one_process(lengths, num_ranks: int) -> None:
    whole = PooledBatchSampler(lengths, 103, 5 * num_ranks, shuffle=True, seed=1)
    ranks = [
        PooledBatchSampler(lengths, 103, 5, shuffle=True, seed=1, rank=rank, num_ranks=num_ranks)
        for rank in range(num_ranks)
    ]
    shares = [list(rank) for rank in ranks]
    assert {len(rank) for rank in ranks} == {len(batches) for batches in shares}
    for batch, *parts in zip(whole, *shares, strict=True):
        assert len({len(part) for part in parts}) == 1
        together = sorted(index for part in parts for index in part)
        assert set(together) <= set(batch)
        assert len(together) == len(set(together)) > len(batch) - num_ranks


@pytest.mark.parametrize("lengths", [None, list(range(103))])
def test_ranks_give_out_every_sample_once_where_nothing_is_shuffled(lengths) -> None:
    ranks = [
        PooledBatchSampler(lengths, 103, 5, shuffle=False, rank=rank, num_ranks=4)
        for rank in range(4)
    ]
    assert [len(rank) for rank in ranks] == [len(list(rank)) for rank in ranks]
    given = sorted(index for rank in ranks for batch in rank for index in batch)
    assert given == list(range(103))
