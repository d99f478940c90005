"""Record maps while a model runs, whichever kernel computes its output.

A row of a map is a function of one query and all keys. So the forward pass only copies the queries
and keys asked for; rows are computed from the copies, in float32, when they are accessed. The
gradient by a map is a function of the values and of the gradient by the heads' output, which a hook
copies in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Literal

import torch
from torch import Tensor, nn

from attention_atlas.attention.huggingface import noting_sequences
from attention_atlas.attention.module import Attention
from attention_atlas.attention.observers import Pass, observe
from attention_atlas.attention.recorded_call import Call
from attention_atlas.attention.selection import (
    Layers,
    choose_layers,
    hint,
    index,
    listed,
    take,
    take_mask,
)
from attention_atlas.attention.statistics import Rollout, Statistic, build_statistic


class Recording:
    """The maps, gradients and statistics of the modules recorded.

    All is computed on access, from the copies that the forward pass made; maps and statistics are
    then stored.

    Attributes:
        names: The modules recorded.
        calls: By module, every call in order, for a model that runs more than once inside one
            `with`; each has `.map`, `.band`, `.gradient`, `.statistics(["entropy"])` and, of
            differential attention, `.parts`.
        maps: By module, the map of its last call.
        bands: By module with a window, the weights in the window.
        gradients: By module, the gradient by its map.
        statistics: By statistic, then by module.
    """

    def __init__(self, names: Sequence[str], statistics: Sequence[Statistic] = ()) -> None:
        self.names = list(names)
        self.calls: dict[str, list[Call]] = {name: [] for name in names}
        self.maps: Mapping[str, Tensor] = _LastCalls(self.calls, attrgetter("map"))
        self.bands: Mapping[str, Tensor] = _LastCalls(
            self.calls, attrgetter("band"), lambda call: call.window is not None
        )
        self.gradients: Mapping[str, Tensor] = _LastCalls(self.calls, attrgetter("gradient"))
        # It refers to the calls only: a cycle with the recording would delay freeing the copies.
        self._statistics = _Statistics(self.calls, statistics)
        self.statistics: Mapping[str, Mapping[str, Tensor]] = self._statistics

    def add(self, name: str, call: Call) -> None:
        """Append a call of a module."""
        self.calls[name].append(call)
        self._statistics.order.append(call)


class _LastCalls(Mapping[str, Tensor]):
    """A property of the last call of each module that was called."""

    def __init__(
        self,
        calls: dict[str, list[Call]],
        look: Callable[[Call], Tensor],
        has: Callable[[Call], bool] | None = None,
    ) -> None:
        self._calls = calls
        self._look = look
        self._has = has

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._calls:
            raise KeyError(f"{name!r} was not recorded{hint(name, list(self._calls))}")
        if not self._calls[name]:
            raise KeyError(f"{name!r} did not run while it was recorded.")
        return self._look(self._calls[name][-1])

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __iter__(self) -> Iterator[str]:
        for name, calls in self._calls.items():
            if calls and (self._has is None or self._has(calls[-1])):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Statistics(Mapping[str, Mapping[str, Tensor]]):
    """The statistics asked for; all those of a call are computed in one pass over its rows."""

    def __init__(self, calls: dict[str, list[Call]], statistics: Sequence[Statistic]) -> None:
        self.order: list[Call] = []
        self._calls = calls
        self._asked = {statistic.name: statistic for statistic in statistics}
        self._results: dict[Call, dict[str, Tensor]] = {}

    def __getitem__(self, name: str) -> Mapping[str, Tensor]:
        if name not in self._asked:
            raise KeyError(f"{name!r} was not recorded; ask by record(..., statistics=[{name!r}]).")
        return _LastCalls(self._calls, partial(self._compute, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._asked)

    def __len__(self) -> int:
        return len(self._asked)

    def _compute(self, name: str, call: Call) -> Tensor:
        """Return a statistic of a call; a rollout needs those of the calls that came after."""
        if call not in self._results:
            if Rollout.name in self._asked:
                self._roll_out()
            else:
                self._results[call] = _compute(call, self._asked)
        return self._results[call][name]

    def _roll_out(self) -> None:
        for name, calls in self._calls.items():
            if len(calls) > 1:
                raise ValueError(
                    f"A rollout follows one pass through the layers, and {name!r} ran {len(calls)} "
                    "times: open a record for each pass."
                )
        asked = dict(self._asked)
        for call in reversed(self.order):
            self._results[call] = _compute(call, asked)
            asked[Rollout.name] = Rollout(self._results[call][Rollout.name])


def _compute(call: Call, statistics: Mapping[str, Statistic]) -> dict[str, Tensor]:
    return dict(zip(statistics, call.statistics(list(statistics.values())), strict=True))


@contextmanager
def record(
    model: nn.Module,
    layers: Layers | None = None,
    heads: Sequence[int] | int | None = None,
    queries: Sequence[int] | int | Literal["first", "readout"] | None = None,
    samples: Sequence[int] | int | None = None,
    gradients: bool = False,
    statistics: Sequence[str | Statistic] = (),
) -> Iterator[Recording]:
    """Record the maps of every `Attention` in a model while it runs inside the `with` block.

    ```
    with record(model, layers="encoder.*", heads=[0], gradients=True) as recording:
        logits = model(batch)
        logits.amax(-1).sum().backward()  # the logit of the predicted class of each sample
    recording.maps["encoder.layers.0.attention"]  # [B, 1, Q, K]
    recording.gradients["encoder.layers.0.attention"]  # [B, 1, Q, K]
    ```

    Neither the outputs nor the gradients change by one bit, because the kernel stays as it is: the
    forward pass copies the queries and keys asked for and the rows are computed from them, in
    float32, when they are accessed. Maps are before dropout; a row sums to 1, except a fully masked
    row, which is zeros. The copies live as long as the recording.

    None asks for all. Indexes count from 0, or from the end if negative.

    - `layers`: names of modules as in `model.named_modules()`, patterns such as
      `"encoder.layers.*"`, or indexes in that order; one or a list. A model that is an `Attention`
      itself is named `"attention"`. Prefixes that DDP, `torch.compile` and the like add to names
      are left out.
    - `heads`, `queries`, `samples`: indexes, one or a list; `queries="first"` is short for `[0]`,
      the row of a readout or of a CLS token, and `"readout"` is that row of the last of the layers
      alone, in the order of `model.named_modules()`.
    - `gradients`: also record the gradients by the maps, of the scalar whose `backward()` is
      called, inside the block or after it; of the last one, if there are several.
    - `statistics`: names (`entropy`, `received`, `maximum`, `distance`, `sink_share`, `null_share`,
      `rollout`) or instances of `Statistic`, of all rows asked for; they are computed in one pass
      and never need a Q x K tensor. `rollout` follows the layers recorded from the last to run
      back to the first, in one forward pass: `recording.statistics["rollout"][name]` [B, K] is the
      contribution of each key of that layer to the first row of the last layer.

    Several records may be open at once, each with its own choice. A forward pass that activation
    checkpointing repeats is recorded once.

    Raises ValueError if a layer, head or statistic does not exist, or if a rollout is not defined;
    in the forward pass, if a query or sample does not exist, or if gradients are asked for while
    dropout of attention weights is active, where the outputs do not determine them.
    """
    modules = choose_layers(model, layers)
    if queries == "readout":
        modules = dict(list(modules.items())[-1:])
    chosen_heads, chosen_samples = listed(heads), listed(samples)
    rows = [0] if queries in ("first", "readout") else listed(queries)
    if isinstance(rows, str):
        raise ValueError(
            f"queries is {rows!r}; it must be None, a list of indexes, 'first' or 'readout'."
        )
    for name, module in modules.items():
        if isinstance(module, Attention):
            index(chosen_heads, module.num_heads, f"head of {name!r}")
    chosen = _build_statistics(statistics)
    if any(isinstance(statistic, Rollout) for statistic in chosen):
        _check_rollout(modules, chosen_heads, rows)
    recording = Recording(list(modules), chosen)
    with ExitStack() as stack:
        for name, module in modules.items():
            observer = _Observer(recording, name, chosen_samples, chosen_heads, rows, gradients)
            stack.enter_context(observe(module, observer))
        stack.enter_context(noting_sequences(modules.values()))
        yield recording


@dataclass(frozen=True, eq=False)
class _Observer:
    """Copies the samples, heads and queries asked for from each forward pass of one module."""

    recording: Recording
    name: str
    samples: Sequence[int] | None
    heads: Sequence[int] | None
    queries: Sequence[int] | None
    gradients: bool

    @torch.no_grad()
    def __call__(self, seen: Pass) -> None:
        is_repeated = _in_backward()
        if is_repeated and not self.gradients:
            return
        if self.gradients and seen.dropout_p > 0:
            raise ValueError(
                f"Gradients by the maps of {self.name!r} cannot be recorded while dropout of "
                "attention weights is active: set its dropout to 0, or the model to eval()."
            )
        batch, num_heads, num_queries, _ = seen.query.shape
        samples = index(self.samples, batch, f"sample in the batch of {self.name!r}")
        heads = index(self.heads, num_heads, f"head of {self.name!r}")
        queries = index(self.queries, num_queries, f"query of {self.name!r}")
        groups = num_heads // seen.key.shape[1]
        key_heads = None if heads is None else [head // groups for head in heads]
        query, key = take(seen.query, samples, heads, queries), take(seen.key, samples, key_heads)
        watch = partial(_watch, output=seen.output, chosen=(samples, heads, queries))
        if is_repeated:
            self._watch_again(query, key, watch)
            return
        call = Call(
            score=seen.score,
            parameters={name: take(own, heads) for name, own in seen.score.named_parameters()},
            query=query,
            key=key,
            value=take(seen.value, samples, key_heads) if self.gradients else None,
            mask=take_mask(seen.mask, samples, heads, queries),
            window=seen.window,
            padding=None if seen.padding is None else take(seen.padding, samples, queries),
            positions=range(num_queries) if queries is None else queries,
            grid=seen.grid,
            weight=None if seen.weight is None else seen.weight.clone(),
        )
        self.recording.add(self.name, call)
        if self.gradients and seen.output.requires_grad:
            call.is_watched = True
            watch(call)

    def _watch_again(self, query: Tensor, key: Tensor, watch: Callable[[Call], None]) -> None:
        """Watch the output of a pass that activation checkpointing repeats.

        If it ran the first one without gradients (reentrant), the gradient passes this output. Its
        call is the one with the same queries and keys, bit for bit.
        """
        calls = [call for call in self.recording.calls[self.name] if not call.is_watched]
        same = [c for c in calls if torch.equal(c.query, query) and torch.equal(c.key, key)]
        for call in same:
            call.is_ambiguous = len(same) > 1
            watch(call)


Chosen = tuple[list[int] | None, list[int] | None, list[int] | None]
"""Indexes of samples, heads and queries; None for all."""


def _watch(call: Call, output: Tensor, chosen: Chosen) -> None:
    """Store the gradient by an output in its call, once the backward pass computes it."""
    if not output.requires_grad:
        return

    def store(gradient: Tensor) -> None:
        call.output_gradient = take(gradient, *chosen)

    output.register_hook(store)  # type: ignore[no-untyped-call]


def _in_backward() -> bool:
    """Whether autograd is in a backward pass."""
    # torch has no public way; its own checkpointing asks so, and test_gradients.py watches it.
    return torch._C._current_graph_task_id() != -1


def _build_statistics(statistics: Sequence[str | Statistic]) -> list[Statistic]:
    if isinstance(statistics, str):
        raise ValueError(f"statistics is {statistics!r}; it must be a list of names.")
    built = [build_statistic(statistic) for statistic in statistics]
    names = [statistic.name for statistic in built]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"statistics has {name!r} {names.count(name)} times; open a record for each."
            )
    return built


def _check_rollout(
    modules: dict[str, nn.Module], heads: Sequence[int] | None, queries: Sequence[int] | None
) -> None:
    if heads is not None or queries is not None:
        raise ValueError("A rollout goes through all heads and queries; choose none of them.")
    for name, module in modules.items():
        if isinstance(module, Attention) and module.is_signed:
            raise ValueError(
                f"There is no rollout through {name!r}: its maps are signed, and a fraction of a "
                "token's input is not."
            )
