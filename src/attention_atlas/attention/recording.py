"""Record: ask for maps while a model runs, whatever kernel makes its output.

A row of a map is a function of one query and all keys. So the forward pass only copies the queries
and keys asked for; rows are computed from the copies, in float32, when they are looked at. The
gradient by a map is a function of the values and of the gradient by the heads' output, which a hook
copies in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Literal

import torch
from torch import Tensor, nn

from attention_atlas.attention.huggingface import knowing_sequences
from attention_atlas.attention.module import Attention
from attention_atlas.attention.observers import Pass, leave_off, observe
from attention_atlas.attention.recorded_call import Call, Copies
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
    """What `record` gives: the maps, gradients and statistics of the modules recorded.

    `names` lists the modules recorded. `maps[name]` is the map of the last call of that module,
    `bands[name]` the part of it in a window, `gradients[name]` the gradient by it, and
    `statistics[statistic][name]` its statistic. `calls[name]` lists every call, in order, for a
    model that runs more than once inside one `with`; each has `.map`, `.band`, `.gradient`,
    `.statistics(["entropy"])` and, of differential attention, `.parts`.

    All is computed when it is looked at, from the copies that the forward pass made; maps and
    statistics are kept then.
    """

    def __init__(self, names: Sequence[str], statistics: Sequence[Statistic]) -> None:
        self.names = list(names)
        self.calls: dict[str, list[Call]] = {name: [] for name in names}
        self.maps: Mapping[str, Tensor] = _LastCalls(self.calls, attrgetter("map"))
        self.bands: Mapping[str, Tensor] = _LastCalls(
            self.calls, attrgetter("band"), attrgetter("has_window")
        )
        self.gradients: Mapping[str, Tensor] = _LastCalls(self.calls, attrgetter("gradient"))
        # Apart from the recording, which would otherwise hold itself and be freed late.
        self._computed = _Computed(self.calls, statistics)
        self.statistics: Mapping[str, Mapping[str, Tensor]] = _Asked(
            (statistic.name, _LastCalls(self.calls, partial(self._computed.of, statistic.name)))
            for statistic in statistics
        )

    def add(self, name: str, call: Call) -> None:
        """Keep what one forward pass of a module gave."""
        self.calls[name].append(call)
        self._computed.order.append(call)


class _Computed:
    """The statistics of calls, all of a call in one pass over its rows."""

    def __init__(self, calls: dict[str, list[Call]], statistics: Sequence[Statistic]) -> None:
        self.calls = calls
        self.statistics = statistics
        self.order: list[Call] = []
        self.results: dict[Call, dict[str, Tensor]] = {}

    def of(self, name: str, call: Call) -> Tensor:
        """Return a statistic of a call; a rollout needs those of the calls that came after."""
        if call not in self.results:
            if any(isinstance(statistic, Rollout) for statistic in self.statistics):
                self._roll_out()
            else:
                self._compute(call, self.statistics)
        return self.results[call][name]

    def _roll_out(self) -> None:
        for name, calls in self.calls.items():
            if len(calls) > 1:
                raise ValueError(
                    f"A rollout follows one pass through the layers, and {name!r} ran {len(calls)} "
                    "times: open a record for each pass."
                )
        relevance = next(s.relevance for s in self.statistics if isinstance(s, Rollout))
        for call in reversed(self.order):
            statistics = [
                Rollout(relevance) if isinstance(statistic, Rollout) else statistic
                for statistic in self.statistics
            ]
            self._compute(call, statistics)
            relevance = self.results[call][Rollout.name]

    def _compute(self, call: Call, statistics: Sequence[Statistic]) -> None:
        names = [statistic.name for statistic in statistics]
        self.results[call] = dict(zip(names, call.statistics(statistics), strict=True))


class _Asked(dict[str, Mapping[str, Tensor]]):
    """The statistics that were asked for."""

    def __missing__(self, name: str) -> Mapping[str, Tensor]:
        raise KeyError(f"{name!r} was not recorded; ask by record(..., statistics=[{name!r}]).")


class _LastCalls(Mapping[str, Tensor]):
    """A view of the last call of each module that was called."""

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
    float32, when they are looked at. Maps are before dropout; a row sums to 1, but a fully masked
    row is zeros. Copies are kept as long as the recording is.

    None asks for all. Indexes count from 0, or from the end if negative.

    - `layers`: names of modules as in `model.named_modules()`, patterns such as
      `"encoder.layers.*"`, or indexes in that order; one or a list. A model that is an `Attention`
      itself is named `"attention"`. What DDP, `torch.compile` and the like put into names is left
      out.
    - `heads`, `queries`, `samples`: indexes, one or a list; `queries="first"` is short for `[0]`,
      the row of a readout or of a CLS token, and `"readout"` is that row of the last of the layers
      alone, in the order of `model.named_modules()`.
    - `gradients`: also record the gradients by the maps. They are of the scalar whose `backward()`
      is called, inside the block or after it; of the last one, if there are several.
    - `statistics`: names (`entropy`, `received`, `maximum`, `distance`, `sink_share`, `null_share`,
      `rollout`) or instances of `Statistic`; they are of all rows asked for, are computed in one
      pass and never need a Q x K tensor. `rollout` follows the layers recorded from the last to
      run back to the first, in one forward pass: `recording.statistics["rollout"][name]` [B, K] is
      what the first row of the last layer is made of, in terms of that layer's keys.

    Several records may be open at once, each with its own choice. A forward pass that activation
    checkpointing repeats is recorded once.

    Raises ValueError if a layer, head or statistic does not exist, or a rollout does not; in the
    forward pass, if a query or sample does not, or if gradients are asked for while dropout of
    attention weights is active, where they cannot be had from the outputs.
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
    chosen = _statistics(statistics)
    if any(isinstance(statistic, Rollout) for statistic in chosen):
        _check_rollout(modules, chosen_heads, rows)
    recording = Recording(list(modules), chosen)
    observers = {
        name: _Observer(recording, name, chosen_heads, rows, chosen_samples, gradients)
        for name in modules
    }
    try:
        for name, module in modules.items():
            observe(module, observers[name])
        with knowing_sequences(modules.values()):
            yield recording
    finally:
        for name, module in modules.items():
            leave_off(module, observers[name])


@dataclass(frozen=True, eq=False)
class _Observer:
    """Copies what was asked for of each forward pass of one module."""

    recording: Recording
    name: str
    heads: Sequence[int] | None
    queries: Sequence[int] | None
    samples: Sequence[int] | None
    gradients: bool

    @torch.no_grad()
    def __call__(self, seen: Pass) -> None:
        query, is_repeated = seen.query, _in_backward()
        if is_repeated and not self.gradients:
            return
        if self.gradients and seen.dropout_p > 0:
            raise ValueError(
                f"Gradients by the maps of {self.name!r} cannot be recorded while dropout of "
                "attention weights is active: set its dropout to 0, or the model to eval()."
            )
        samples = index(self.samples, query.shape[0], f"sample in the batch of {self.name!r}")
        heads = index(self.heads, query.shape[1], f"head of {self.name!r}")
        queries = index(self.queries, query.shape[2], f"query of {self.name!r}")
        groups = query.shape[1] // seen.key.shape[1]
        key_heads = None if heads is None else [head // groups for head in heads]
        query_copy = take(query, samples, heads, queries)
        key_copy = take(seen.key, samples, key_heads)
        chosen = samples, heads, queries
        if is_repeated:
            self._watch_again(seen.output, query_copy, key_copy, chosen)
            return
        copies = Copies(
            query_copy,
            key_copy,
            take(seen.value, samples, key_heads) if self.gradients else None,
            take_mask(seen.mask, samples, heads, queries),
            None if seen.padding is None else take(seen.padding, samples, queries),
            range(query.shape[2]) if queries is None else queries,
            seen.grid,
            {name: take(values, heads) for name, values in seen.score.named_parameters()},
            None if seen.weight is None else seen.weight.clone(),
        )
        call = Call(seen.score, copies)
        self.recording.add(self.name, call)
        if self.gradients and seen.output.requires_grad:
            call.is_watched = True
            _watch(call, seen.output, chosen)

    def _watch_again(self, output: Tensor, query: Tensor, key: Tensor, chosen: Chosen) -> None:
        """Watch the output of a pass that activation checkpointing repeats.

        If it ran the first one without gradients (reentrant), it is this output that the gradient
        passes by. The call that it belongs to is told by what goes in.
        """
        calls = self.recording.calls[self.name]
        same = [call for call in calls if not call.is_watched and call.is_of(query, key)]
        for call in same:
            call.is_ambiguous = len(same) > 1
            if output.requires_grad:
                _watch(call, output, chosen)


Chosen = tuple[list[int] | None, list[int] | None, list[int] | None]
"""Indexes of samples, heads and queries; None for all."""


def _watch(call: Call, output: Tensor, chosen: Chosen) -> None:
    """Have the gradient by an output brought to its call."""

    def bring(gradient: Tensor) -> None:
        call.take_output_gradient(take(gradient, *chosen))

    output.register_hook(bring)  # type: ignore[no-untyped-call]


def _in_backward() -> bool:
    """Whether autograd is in a backward pass; torch's own checkpointing asks the same way."""
    return torch._C._current_graph_task_id() != -1


def _statistics(statistics: Sequence[str | Statistic]) -> list[Statistic]:
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
        raise ValueError("A rollout goes through all heads and queries; leave out the choice.")
    for name, module in modules.items():
        if isinstance(module, Attention) and module.is_signed:
            raise ValueError(
                f"There is no rollout through {name!r}: its maps are signed, and shares of what a "
                "token is made of are not."
            )
