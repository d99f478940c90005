"""Recording inside what people wrap around models: compile, autocast, DDP."""

import os
import socket
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from attention_atlas.attention import SCORES, Attention, record
from tests.attention.test_recording import NAMES, Model, batch


def gradients_of(model: nn.Module) -> list[Tensor]:
    found = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


def step(model: nn.Module, x: Tensor, padding: Tensor | None) -> list[Tensor]:
    model.zero_grad()
    output = model(x, padding)
    output.square().sum().backward()
    return [output.detach(), *gradients_of(model)]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.filterwarnings("ignore:OptimizedModule is compiled")
def test_a_compiled_model() -> None:
    """It runs as it is written while it is recorded, and is not compiled again."""
    torch._dynamo.reset()
    model = Attention(16, 4, score="cosine", rotary=True)
    compiled = torch.compile(model)
    x, _ = batch()
    plain = step(compiled, x, None)
    torch._dynamo.utils.counters.clear()
    for _ in range(12):  # more often than torch.compile would compile anew
        with record(compiled, gradients=True, statistics=["entropy"]) as recording:
            recorded = step(compiled, x, None)
    torch.testing.assert_close(plain, recorded, rtol=1e-5, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0
    with record(model, gradients=True) as eager:
        step(model, x, None)
    assert recording.names == eager.names == ["attention"]
    assert len(recording.calls["attention"]) == 1
    for name in ("maps", "gradients"):
        one, other = getattr(recording, name), getattr(eager, name)
        torch.testing.assert_close(one["attention"], other["attention"], rtol=1e-3, atol=1e-5)
    assert same(plain, step(compiled, x, None))


@pytest.mark.parametrize("score", SCORES)
def test_autocast(score: str) -> None:
    model = Model(score)
    x, padding = batch()
    with torch.autocast("cpu", torch.bfloat16):
        plain = step(model, x, padding)
        with record(model, gradients=True) as recording:
            recorded = step(model, x, padding)
    assert same(plain, recorded)
    for name in NAMES:
        assert recording.maps[name].dtype == recording.gradients[name].dtype == torch.float32
        sums = recording.maps[name].sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [64, 512])
def test_bfloat16_maps_are_those_of_float32(length: int) -> None:
    """Within 1e-4 of the float64 softmax of the same bfloat16 queries and keys."""
    attention = Attention(64, 2).to(torch.bfloat16)
    x = (4 * torch.randn(2, length, 64)).to(torch.bfloat16)
    with record(attention) as recording:
        attention(x)
    query, key, _ = attention._project(x, None, None)
    expected = (query.double() @ key.double().mT / 32**0.5).softmax(-1)
    eager = (query @ key.mT / 32**0.5).softmax(-1)
    assert (recording.maps["attention"] - expected).abs().max() < 1e-4
    assert (eager.double() - expected).abs().max() > 1e-3


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _train_as_rank(rank: int, port: int, queue: Any) -> None:
    """Two steps with and two without a recording, from the same weights, in a process group."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    results = []
    for recorded in (False, True):
        torch.manual_seed(0)
        model = DistributedDataParallel(Model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(1 + rank)
        for _ in range(2):
            x, padding = batch()
            if recorded:
                with record(model, gradients=True, statistics=["entropy"]) as recording:
                    step(model, x, padding)
                names = recording.names
                shape = tuple(recording.gradients["readout"].shape)
            else:
                step(model, x, padding)
            optimizer.step()
        results.append([parameter.detach().numpy() for parameter in model.parameters()])
    equal = all((a == b).all() for a, b in zip(*results, strict=True))
    queue.put((rank, bool(equal), names, shape, float(results[1][0].sum())))
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:OptimizedModule is compiled")
def test_wrappers_leave_no_trace_in_names() -> None:
    class Wrapper(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self._checkpoint_wrapped_module = model

    for model in (torch.compile(Model()), Wrapper(Model()), torch.compile(Wrapper(Model()))):
        with record(model, layers=[]) as recording:
            assert recording.names == []
        with pytest.raises(ValueError, match="did not run"), record(model) as recording:
            assert recording.names == NAMES


@pytest.mark.slow
def test_distributed_data_parallel() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = multiprocessing.spawn(_train_as_rank, (_free_port(), queue), nprocs=2, join=False)
    reports = sorted(queue.get(timeout=120) for _ in range(2))
    while not processes.join():
        pass
    assert [report[0] for report in reports] == [0, 1]
    for _, equal, names, shape, _ in reports:
        assert equal
        assert names == NAMES
        assert shape == (3, 4, 1, 19)
    assert reports[0][4] == reports[1][4]
