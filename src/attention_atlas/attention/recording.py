"""Record maps while a model runs, whichever kernel computes its output.

The attention functions that a model calls are watched, not replaced. A row of a map is a function
of one query and all keys. So the forward pass only copies the queries and keys asked for; rows are
computed from the copies, in float32, when they are accessed. The gradient by a map is a function of
the values and of the gradient by the heads' output, which a hook copies in the backward pass. Where
a function gives its weights, they are the map.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Literal

import torch
from torch import Tensor, nn

from attention_atlas.attention.module import Attention
from attention_atlas.attention.observers import Pass, WeightsPass, in_backward
from attention_atlas.attention.recorded_call import Call
from attention_atlas.attention.scored_call import ScoredCall
from attention_atlas.attention.selection import (
    LayerChoice,
    Layers,
    attends,
    hint,
    index,
    listed,
    module_names,
    take,
    take_mask,
)
from attention_atlas.attention.statistics import Rollout, Statistic, build_statistic
from attention_atlas.attention.unseen import unseen_modules, why_missed
from attention_atlas.attention.watching import watch
from attention_atlas.attention.weights_call import WeightsCall


class Recording:
    """The maps, gradients and statistics of the modules recorded.

    All is computed on access, from the copies that the forward pass made; maps and statistics are
    then stored.

    Attributes:
        calls: By module, every call in order, for a model that runs more than once inside one
            `with`; each has `.map`, `.band`, `.gradient`, `.statistics(["entropy"])` and, of
            differential attention, `.parts`.
        maps: By module, the map of its last call.
        bands: By module with a window, the weights in the window.
        gradients: By module, the gradient by its map.
        statistics: By statistic, then by module.
        unseen: Modules that ran and of which no map is known, with the reason, once the `with` has
            ended.
    """

    def __init__(self, names: Sequence[str], statistics: Sequence[Statistic] = ()) -> None:
        self.calls: dict[str, list[Call]] = {name: [] for name in names}
        self.unseen: dict[str, str] = {}
        self.maps: Mapping[str, Tensor] = _LastCalls(self.calls, attrgetter("map"))
        self.bands: Mapping[str, Tensor] = _LastCalls(
            self.calls, attrgetter("band"), lambda call: call.window is not None
        )
        self.gradients: Mapping[str, Tensor] = _LastCalls(self.calls, attrgetter("gradient"))
        # It refers to the calls only: a cycle with the recording would delay freeing the copies.
        self._statistics = _Statistics(self.calls, statistics)
        self.statistics: Mapping[str, Mapping[str, Tensor]] = self._statistics

    @property
    def names(self) -> list[str]:
        """The modules recorded."""
        return list(self.calls)

    def add(self, name: str, call: Call) -> None:
        """Append a call of a module."""
        self.calls.setdefault(name, []).append(call)
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
    """Record the maps of whatever attends in a model while it runs inside the `with` block.

    ```
    with record(model, layers="encoder.*", heads=[0], gradients=True) as recording:
        logits = model(batch)
        logits.amax(-1).sum().backward()  # the logit of the predicted class of each sample
    recording.maps["encoder.layers.0.attention"]  # [B, 1, Q, K]
    recording.gradients["encoder.layers.0.attention"]  # [B, 1, Q, K]
    ```

    Recorded are our `Attention`, `nn.MultiheadAttention`, models of `transformers` with the
    attention function that they have, and every module that calls `scaled_dot_product_attention`,
    under the name of the module that calls it. Only what this model does in this thread is
    recorded.

    Neither the outputs nor the gradients change by one bit, because the kernel stays as it is: the
    forward pass copies the queries and keys asked for and the rows are computed from them, in
    float32, when they are accessed; or it copies the weights, where the model computes them itself.
    There are two exceptions, with differences of about 1e-6: models compiled by `torch.compile` run
    as they are written, and `nn.TransformerEncoder` without its fast path for evaluation. Maps are
    before dropout, but for functions that give their weights after it, such as `eager` of
    `transformers` in training; a row sums to 1, except a fully masked row, which is zeros, and rows
    beside a null key or an attention sink. The copies live as long as the recording.

    None asks for all. Indexes count from 0, or from the end if negative.

    - `layers`: names of modules as in `model.named_modules()`, patterns such as
      `"encoder.layers.*"`, or indexes in that order; one or a list. A model that attends itself is
      named `"attention"`. What DDP, `torch.compile`, PEFT and the like add to names is left out.
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
    checkpointing repeats is recorded once. When the block ends, a warning names the modules that
    attended and were not seen; they are listed in `recording.unseen`.

    Raises ValueError if a layer, head or statistic does not exist, or if a rollout is not defined;
    in the forward pass, if a query or sample does not exist, if gradients are asked for while
    dropout of attention weights is active, where the outputs do not determine them, or if a
    function attends in a way that is not known; at the end, if nothing was recorded.
    """
    names = module_names(model)
    modules = {name: module for module, name in names.items() if attends(module)}
    choice = LayerChoice(list(modules), list(names.values()), layers)
    modules = {name: module for name, module in modules.items() if choice.takes(name)}
    if queries == "readout":
        modules = dict(list(modules.items())[-1:])
        choice = LayerChoice(list(modules), [], list(modules))
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
    observer = _Observer(recording, choice, chosen_samples, chosen_heads, rows, gradients)
    with watch(model, observer) as watcher:
        yield recording
    recording.unseen = unseen_modules(watcher)
    ran = [name for name, calls in recording.calls.items() if calls]
    if (not ran and choice.patterns != []) or choice.missed(ran):
        raise ValueError(why_missed(model, watcher, choice.missed(ran), recording.unseen))
    if recording.unseen:
        listing = "; ".join(f"{name} ({why})" for name, why in recording.unseen.items())
        warnings.warn(f"Of {type(model).__name__} no map is known of: {listing}.", stacklevel=3)


@dataclass(frozen=True, eq=False)
class _Observer:
    """Copies the samples, heads and queries asked for from each forward pass."""

    recording: Recording
    choice: LayerChoice
    samples: Sequence[int] | None
    heads: Sequence[int] | None
    queries: Sequence[int] | None
    gradients: bool

    @torch.no_grad()
    def __call__(self, name: str, seen: Pass | WeightsPass) -> None:
        if not self.choice.takes(name) or (in_backward() and not self.gradients):
            return
        first = seen.query if isinstance(seen, Pass) else seen.weights
        batch, num_heads, num_queries, _ = first.shape
        chosen = (
            index(self.samples, batch, f"sample in the batch of {name!r}"),
            index(self.heads, num_heads, f"head of {name!r}"),
            index(self.queries, num_queries, f"query of {name!r}"),
        )
        positions = range(num_queries) if chosen[2] is None else chosen[2]
        if isinstance(seen, WeightsPass):
            self._add_weights(name, seen, chosen, positions)
        else:
            self._add_scored(name, seen, chosen, positions)

    def _add_weights(
        self, name: str, seen: WeightsPass, chosen: Chosen, positions: Sequence[int]
    ) -> None:
        if in_backward():
            return
        call = WeightsCall(
            weights=take(seen.weights, *chosen),
            stores_gradient=self.gradients,
            padding=None if seen.padding is None else take(seen.padding, chosen[0], chosen[2]),
            positions=positions,
            grid=seen.grid,
            source=seen.source,
        )
        self.recording.add(name, call)
        if self.gradients:
            _keep_gradient(seen.weights, partial(setattr, call, "weights_gradient"), chosen)

    def _add_scored(self, name: str, seen: Pass, chosen: Chosen, positions: Sequence[int]) -> None:
        if self.gradients and seen.dropout_p > 0:
            raise ValueError(
                f"Gradients by the maps of {name!r} cannot be recorded while dropout of "
                "attention weights is active: set its dropout to 0, or the model to eval()."
            )
        samples, heads, queries = chosen
        groups = seen.query.shape[1] // seen.key.shape[1]
        key_heads = None if heads is None else [head // groups for head in heads]
        query, key = take(seen.query, *chosen), take(seen.key, samples, key_heads)
        if in_backward():
            self._watch_again(name, query, key, seen.output, chosen)
            return
        call = ScoredCall(
            score=seen.score,
            parameters={name: take(own, heads) for name, own in seen.score.named_parameters()},
            query=query,
            key=key,
            value=take(seen.value, samples, key_heads) if self.gradients else None,
            mask=take_mask(seen.mask, samples, heads, queries),
            window=seen.window,
            padding=None if seen.padding is None else take(seen.padding, samples, queries),
            positions=positions,
            grid=seen.grid,
            weight=None if seen.weight is None else seen.weight.clone(),
        )
        self.recording.add(name, call)
        if self.gradients and seen.output.requires_grad:
            call.is_watched = True
            _keep_gradient(seen.output, partial(setattr, call, "output_gradient"), chosen)

    def _watch_again(
        self, name: str, query: Tensor, key: Tensor, output: Tensor, chosen: Chosen
    ) -> None:
        """Watch the output of a pass that activation checkpointing repeats.

        If it ran the first one without gradients (reentrant), the gradient passes this output. Its
        call is the one with the same queries and keys, bit for bit.
        """
        same = [
            call
            for call in self.recording.calls[name]
            if isinstance(call, ScoredCall)
            and not call.is_watched
            and torch.equal(call.query, query)
            and torch.equal(call.key, key)
        ]
        for call in same:
            call.is_ambiguous = len(same) > 1
            _keep_gradient(output, partial(setattr, call, "output_gradient"), chosen)


Chosen = tuple[list[int] | None, list[int] | None, list[int] | None]
"""Indexes of samples, heads and queries; None for all."""


def _keep_gradient(tensor: Tensor, keep: Callable[[Tensor], None], chosen: Chosen) -> None:
    """Store a part of the gradient by a tensor, once the backward pass computes it."""
    if tensor.requires_grad:
        tensor.register_hook(lambda gradient: keep(take(gradient, *chosen)))  # type: ignore[no-untyped-call]


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
