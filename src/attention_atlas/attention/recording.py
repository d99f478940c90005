"""Record: ask for maps while a model runs, whatever kernel makes its output.

A row of a map is a function of one query and all keys. So the forward pass only copies the queries
and keys asked for; rows are computed from the copies, in float32, when they are looked at.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from operator import methodcaller
from typing import Literal

import torch
from torch import Tensor, nn

from attention_atlas.attention.functional import reduce_rows
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.module import Attention
from attention_atlas.attention.scores import Score
from attention_atlas.attention.statistics import ROW_STATISTICS

Layers = str | int | Sequence[str | int]


class Call:
    """What was recorded of one forward pass of one `Attention`: copies, and rows made from them.

    B, H and Q count the samples, heads and queries asked for, in the order asked for.
    """

    def __init__(
        self,
        score: Score,
        parameters: dict[str, Tensor],
        query: Tensor,
        key: Tensor,
        mask: Mask,
        positions: Tensor,
    ) -> None:
        self._score = score
        self._parameters = parameters
        self._query = query
        self._key = key
        self._mask = mask
        self._positions = positions
        self._statistics: dict[str, Tensor] = {}

    @cached_property
    def map(self) -> Tensor:
        """The map, [B, H, Q, K]: float32, or float64 if the model computed in that."""
        return self._reduce_rows(lambda rows: rows)

    def statistic(self, name: str) -> Tensor:
        """Return a statistic of each row, [B, H, Q], with no Q x K tensor."""
        if name not in self._statistics:
            self._statistics[name] = self._reduce_rows(ROW_STATISTICS[name])
        return self._statistics[name]

    @torch.no_grad()
    def _reduce_rows(self, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        wide = torch.float64 if self._query.dtype == torch.float64 else torch.float32
        query, key = self._query.to(wide), self._key.to(wide)
        if key.shape[1] < query.shape[1]:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        parameters = {name: values.to(wide) for name, values in self._parameters.items()}
        mask = self._mask
        if mask.tensor is not None and mask.tensor.is_floating_point():
            mask = mask._replace(tensor=mask.tensor.to(wide))

        def logits(queries: Tensor, keys: Tensor) -> Tensor:
            values: Tensor = torch.func.functional_call(self._score, parameters, (queries, keys))
            return values

        # Autocast would compute the scores in half precision.
        with torch.autocast(query.device.type, enabled=False):
            return reduce_rows(reduce, logits, query, key, mask, self._positions)


class Recording:
    """What `record` gives: the maps and statistics of the modules recorded.

    `names` lists the modules recorded. `maps[name]` is the map of the last call of that module and
    `statistics[statistic][name]` its statistic. `calls[name]` lists every call, in order, each with
    `.map` and `.statistic(name)`, for a model that runs more than once inside one `with`.

    All is computed on first access, from the copies that the forward pass made.
    """

    def __init__(self, names: Sequence[str], statistics: Sequence[str]) -> None:
        self.names = list(names)
        self.calls: dict[str, list[Call]] = {name: [] for name in names}
        self.maps: Mapping[str, Tensor] = _LastCalls(self.calls, lambda call: call.map)
        self.statistics: dict[str, Mapping[str, Tensor]] = {
            statistic: _LastCalls(self.calls, methodcaller("statistic", statistic))
            for statistic in statistics
        }


class _LastCalls(Mapping[str, Tensor]):
    """A view of the last call of each module that was called."""

    def __init__(self, calls: dict[str, list[Call]], look: Callable[[Call], Tensor]) -> None:
        self._calls = calls
        self._look = look

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._calls:
            raise KeyError(f"{name!r} was not recorded{_hint(name, list(self._calls))}")
        if not self._calls[name]:
            raise KeyError(f"{name!r} did not run while it was recorded.")
        return self._look(self._calls[name][-1])

    def __iter__(self) -> Iterator[str]:
        return (name for name, calls in self._calls.items() if calls)

    def __len__(self) -> int:
        return sum(1 for calls in self._calls.values() if calls)


@contextmanager
def record(
    model: nn.Module,
    layers: Layers | None = None,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | Literal["first"] | None = None,
    samples: Sequence[int] | None = None,
    statistics: Sequence[str] = (),
) -> Iterator[Recording]:
    """Record the maps of every `Attention` in a model while it runs inside the `with` block.

    ```
    with record(model, layers="encoder.*", heads=[0], queries="first") as recording:
        logits = model(batch)
    recording.maps["encoder.layers.0.attention"]  # [B, 1, 1, K]
    ```

    Neither the outputs nor the gradients change by one bit, because the kernel stays as it is: the
    forward pass copies the queries and keys asked for and the rows are computed from them, in
    float32, when they are looked at. Maps are before dropout; a row sums to 1, but a fully masked
    row is zeros. Copies are kept as long as the recording is.

    None asks for all. Indexes count from 0, or from the end if negative.

    - `layers`: names of modules as in `model.named_modules()`, patterns such as
      `"encoder.layers.*"`, or indexes in that order; one or a list. A model that is an `Attention`
      itself is named `"attention"`.
    - `heads`, `queries`, `samples`: indexes; `queries="first"` is short for `[0]`, the row of a
      readout or of a CLS token.
    - `statistics`: names of statistics to offer, of `entropy`; they are of all rows asked for and
      never need a Q x K tensor.

    Several records may be open at once, each with its own choice.

    Raises ValueError if a layer, head or statistic does not exist; in the forward pass, if a query
    or sample does not.
    """
    modules = _choose_layers(model, layers)
    _check_statistics(statistics)
    rows = [0] if queries == "first" else queries
    if isinstance(rows, str):
        raise ValueError(f"queries is {rows!r}; it must be None, a list of indexes or 'first'.")
    for name, module in modules.items():
        _index(heads, module.num_heads, f"head of {name!r}")
    recording = Recording(list(modules), statistics)
    observers = {
        name: partial(_observe, recording.calls[name], name, heads, rows, samples)
        for name in modules
    }
    try:
        for name, module in modules.items():
            module.observers = (*module.observers, observers[name])
        yield recording
    finally:
        for name, module in modules.items():
            module.observers = tuple(
                observer for observer in module.observers if observer is not observers[name]
            )


@torch.no_grad()
def _observe(
    calls: list[Call],
    name: str,
    heads: Sequence[int] | None,
    queries: Sequence[int] | None,
    samples: Sequence[int] | None,
    module: Attention,
    query: Tensor,
    key: Tensor,
    mask: Mask,
) -> None:
    """Copy what was asked for of one call."""
    chosen_samples = _index(samples, query.shape[0], f"sample in the batch of {name!r}")
    chosen_heads = _index(heads, query.shape[1], f"head of {name!r}")
    chosen_rows = _index(queries, query.shape[2], f"query of {name!r}")
    groups = module.num_heads // module.num_kv_heads
    key_heads = None if chosen_heads is None else [head // groups for head in chosen_heads]
    positions = range(query.shape[2]) if chosen_rows is None else chosen_rows
    calls.append(
        Call(
            module.score,
            {
                parameter_name: _copy(parameter, chosen_heads)
                for parameter_name, parameter in module.score.named_parameters()
            },
            _copy(query, chosen_samples, chosen_heads, chosen_rows),
            _copy(key, chosen_samples, key_heads),
            _copy_mask(mask, chosen_samples, chosen_heads, chosen_rows),
            torch.tensor(list(positions), dtype=torch.long, device=query.device),
        )
    )


def _copy(tensor: Tensor, *choices: list[int] | None) -> Tensor:
    """Copy the entries chosen along the first axes; None means all."""
    copy = tensor.detach()
    for axis, choice in enumerate(choices):
        if choice is not None:
            index = torch.tensor(choice, dtype=torch.long, device=copy.device)
            copy = copy.index_select(axis, index)
    return copy.clone() if all(choice is None for choice in choices) else copy


def _copy_mask(mask: Mask, *choices: list[int] | None) -> Mask:
    if mask.tensor is None:
        return mask
    # Along an axis of 1 a mask is the same for all.
    broadcast = zip(mask.tensor.shape, choices, strict=False)
    return mask._replace(
        tensor=_copy(mask.tensor, *(choice if size > 1 else None for size, choice in broadcast))
    )


def _index(choice: Sequence[int] | None, size: int, what: str) -> list[int] | None:
    """Return indexes counted from 0; ValueError if one does not exist."""
    if choice is None:
        return None
    for index in choice:
        if not -size <= index < size:
            raise ValueError(f"There is no {what} with index {index}: there are {size}.")
    return [index % size for index in choice]


def _choose_layers(model: nn.Module, layers: Layers | None) -> dict[str, Attention]:
    modules = {
        name or "attention": module
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    }
    if not modules:
        raise ValueError(f"{type(model).__name__} holds no Attention module to record.")
    if layers is None:
        return modules
    names = list(modules)
    chosen: set[str] = set()
    for layer in [layers] if isinstance(layers, (str, int)) else layers:
        if isinstance(layer, int):
            if not -len(names) <= layer < len(names):
                raise ValueError(
                    f"There is no attention module with index {layer}: there are {len(names)}."
                )
            chosen.add(names[layer])
        else:
            matches = fnmatch.filter(names, layer)
            if not matches:
                raise ValueError(f"No attention module is named {layer!r}{_hint(layer, names)}")
            chosen.update(matches)
    return {name: module for name, module in modules.items() if name in chosen}


def _check_statistics(statistics: Sequence[str]) -> None:
    if isinstance(statistics, str):
        raise ValueError(f"statistics is {statistics!r}; it must be a list of names.")
    for name in statistics:
        if name not in ROW_STATISTICS:
            raise ValueError(
                f"There is no statistic {name!r}; there is {', '.join(ROW_STATISTICS)}."
            )


def _hint(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"; did you mean {close[0]!r}?" if close else "."
