"""The attribution methods by name."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from attention_atlas.analysis.attributions.applicability import (
    always,
    needs_layers,
    needs_leading_map,
    needs_length,
    needs_linear_values,
    needs_paths,
    needs_positive_relevance,
    needs_readout_row,
)
from attention_atlas.analysis.attributions.baselines import random, uniform
from attention_atlas.analysis.attributions.input_gradients import (
    input_gradient,
    integrated_gradients,
)
from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.analysis.attributions.rollout import flow, gradient_rollout, rollout
from attention_atlas.analysis.attributions.weights import (
    attention_gradient,
    raw,
    readout,
    value_norms,
)
from attention_atlas.encoder import Classifier
from attention_atlas.errors import InputError, counted


@dataclass(frozen=True)
class Method:
    """A method that measures how much each token mattered.

    Attributes:
        name: A key of `METHODS`, or `raw:LAYER` or `raw:LAYER.HEAD`.
        title: For figures and tables.
        paper: Author and year; empty for baselines.
        explain: Computes the attribution [B, K] of a recorded pass.
        refuse: Returns why it does not apply to a model; None if it does.
        signed: Whether a token may be evidence against the class, and so be negative. (Maps of
            differential attention are signed whatever the method.)
        needs_gradients: Whether it uses gradients by the maps.
    """

    name: str
    title: str
    paper: str
    explain: Callable[[Recorded], Tensor]
    refuse: Callable[[Classifier], str | None]
    signed: bool = False
    needs_gradients: bool = False


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("readout", "readout row", "Lee 2019", readout, needs_readout_row),
        Method("raw", "raw attention", "Jain & Wallace 2019", raw, needs_layers),
        Method("rollout", "rollout", "Abnar & Zuidema 2020", rollout, needs_paths),
        Method("flow", "attention flow", "Abnar & Zuidema 2020", flow, needs_paths),
        Method(
            "gradient_rollout",
            "gradient rollout",
            "Chefer 2021",
            gradient_rollout,
            needs_positive_relevance,
            needs_gradients=True,
        ),
        Method(
            "attention_gradient",
            "attention × gradient",
            "Serrano & Smith 2019",
            attention_gradient,
            needs_leading_map,
            signed=True,
            needs_gradients=True,
        ),
        Method("value_norms", "value norms", "Kobayashi 2020", value_norms, needs_linear_values),
        Method(
            "input_gradient",
            "input × gradient",
            "Shrikumar 2016",
            input_gradient,
            needs_length,
            signed=True,
        ),
        Method(
            "integrated_gradients",
            "integrated gradients",
            "Sundararajan 2017",
            integrated_gradients,
            always,
            signed=True,
        ),
        Method("random", "random", "", random, always),
        Method("uniform", "uniform", "", uniform, always),
    )
}
"""All methods, in the order of tables and figures."""


def find_method(name: str) -> Method:
    """Return the method of that name, `raw:LAYER` and `raw:LAYER.HEAD` included.

    Layers and heads count from 0. Raises InputError if there is none.
    """
    if name in METHODS:
        return METHODS[name]
    base, _, position = name.partition(":")
    if base == "raw":
        return _raw_at(name, position)
    close = difflib.get_close_matches(name, METHODS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(f"There is no attribution {name!r}; there are {', '.join(METHODS)}.{hint}")


def _raw_at(name: str, position: str) -> Method:
    """Return raw attention of a layer, or of one of its heads."""
    numbers = position.split(".")
    if len(numbers) > 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise InputError(
            f"{name!r} names no layer: write raw:LAYER or raw:LAYER.HEAD, such as raw:0 or "
            "raw:1.3, counted from 0."
        )
    layer = int(numbers[0])
    head = int(numbers[1]) if len(numbers) == 2 else None
    return replace(
        METHODS["raw"],
        name=name,
        title=f"layer {layer}" + ("" if head is None else f", head {head}"),
        explain=partial(raw, layer=layer, head=head),
        refuse=partial(_refuse_position, layer, head),
    )


def _refuse_position(layer: int, head: int | None, model: Classifier) -> str | None:
    """Return why there is no such layer or head; None if there is."""
    heads = model.layer_heads
    if layer >= len(heads):
        return f"the encoder has {counted(len(heads), 'layer')}, counted from 0"
    if head is not None and head >= heads[layer]:
        return f"layer {layer} has {counted(heads[layer], 'head')}, counted from 0"
    return None
