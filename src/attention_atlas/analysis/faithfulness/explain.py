"""Attributions to measure: those of the library and the caller's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from attention_atlas.analysis.attributions import attribute, find_method, why_not
from attention_atlas.analysis.faithfulness.metrics import Values
from attention_atlas.analysis.faithfulness.removal import Removal
from attention_atlas.analysis.faithfulness.result import BASELINE
from attention_atlas.attention import Attention
from attention_atlas.encoder import Classifier, TokenLayout
from attention_atlas.encoder.tokens import Batch
from attention_atlas.errors import InputError

Explain = Callable[[Classifier, Batch, Tensor], Tensor]
"""Custom attribution: model, batch, classes [B] to [B, K]; positive supports the class."""

GRADIENT = "input_gradient"
"""Attribution that others are compared with (Jain & Wallace 2019)."""


@dataclass(frozen=True)
class Explainer:
    """Attribution methods that a model allows.

    Attributes:
        names: Names of the library's methods.
        own: Others, by name.
        refused: Methods that do not apply, and why.
        removal: Makes the input without any token, the baseline of integrated gradients.
        seed: Seed of random attributions.
        too_long: Methods that were refused for some samples, and why; filled when they are asked.
    """

    names: list[str]
    own: Mapping[str, Explain]
    refused: dict[str, str]
    removal: Removal
    seed: int
    too_long: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Classifier,
        methods: Sequence[str],
        own: Mapping[str, Explain],
        removal: Removal,
        seed: int,
    ) -> "Explainer":
        """Separate the methods that do not apply to the model; random is always measured.

        Raises InputError if a method is unknown.
        """
        wanted = list(dict.fromkeys([*methods, BASELINE]))
        reasons = {method: why_not(method, model) for method in wanted}
        refused = {method: reason for method, reason in reasons.items() if reason is not None}
        names = [method for method in wanted if method not in refused]
        return cls(names, own, refused, removal, seed)

    @property
    def methods(self) -> list[str]:
        """Names of all measured methods."""
        return [*self.names, *self.own]

    def __call__(
        self, model: Classifier, batch: Batch, layout: TokenLayout, target: Tensor
    ) -> dict[str, Values]:
        """Return each attribution [B, K], always with the gradient; NaN if a sample is too long."""
        reference = self.removal.all(batch, layout)

        def ask(names: list[str], rows: slice) -> dict[str, Values]:
            part = (_rows(inputs, rows) for inputs in (batch, reference))
            found = attribute(
                model, next(part), names, target[rows], reference=next(part), seed=self.seed
            )
            return {name: _array(values) for name, values in found.items()}

        found = _ask_in_parts(
            ask, list(dict.fromkeys([*self.names, GRADIENT])), layout, self.too_long
        )
        return found | {
            name: _array(explain(model, batch, target)) for name, explain in self.own.items()
        }

    def is_signed(self, method: str, model: Classifier) -> bool:
        """Return whether an attribution may also be negative, against the class.

        With signed maps every method may.
        """
        if method in self.own or find_method(method).signed:
            return True
        return any(isinstance(part, Attention) and part.is_signed for part in model.modules())

    def title(self, method: str) -> str:
        """Return the name of a method in figures and sentences."""
        return method.replace("_", " ") if method in self.own else find_method(method).title


def _ask_in_parts(
    ask: Callable[[list[str], slice], dict[str, Values]],
    names: list[str],
    layout: TokenLayout,
    too_long: dict[str, str],
) -> dict[str, Values]:
    """Attribute all samples by all methods at once, or one by one if a method refuses a sample.

    A method may refuse an input that is too long; its attribution is then NaN.
    """
    size = layout.valid.shape
    try:
        return ask(names, slice(size[0]))
    except InputError:
        found = {}
        for name in names:
            values: Values = np.full(size, np.nan)
            try:
                values = ask([name], slice(size[0]))[name]
            except InputError:
                for row in range(size[0]):
                    try:
                        values[row] = ask([name], slice(row, row + 1))[name][0]
                    except InputError as error:
                        too_long[name] = str(error)
            found[name] = values
        return found


def _rows(batch: Batch, rows: slice) -> Batch:
    """Return some samples of a batch."""
    return {
        name: values[rows] for name, values in batch.items() if isinstance(values, (Tensor, list))
    }


def _array(values: Tensor) -> Values:
    array: Values = values.detach().cpu().double().numpy()
    return array
