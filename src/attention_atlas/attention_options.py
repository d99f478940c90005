"""Which options of attention may be combined; without torch, so that configs are checked early."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GATES = ("headwise", "elementwise")
"""Gates for the output of a head, by one number or by one for each of its values."""

ROTATED_SCORES = ("dot", "scaled_dot", "cosine")
"""Scores that depend only on the distance of two tokens once query and key are rotated."""


@dataclass(frozen=True)
class Mechanism:
    """The options of `Attention`, and whether they can be combined.

    Attributes:
        score: Name of the score; None for a custom `Score`.
        grid_axes: 1 for tokens in a line, 2 for tokens on a grid of rows and columns.
        prefix: Precedes the names of options in a message, such as `attention.` in a config.
        size_prefix: The same for `embed_dim` and `num_heads`.
    """

    embed_dim: int
    num_heads: int
    score: str | None = "scaled_dot"
    dropout: float = 0.0
    num_kv_heads: int | None = None
    rotary: bool = False
    window: int | None = None
    gate: str | None = None
    null_key: bool = False
    differential: bool = False
    linear: bool = False
    compile: bool = False
    grid_axes: int = 1
    prefix: str = ""
    size_prefix: str = ""

    def conflict(self) -> str | None:
        """Return the conflict, the reason and what to take instead; None if all go together."""
        return (
            self._switches()
            or self._sizes()
            or self._values()
            or self._linear()
            or self._differential()
            or self._score()
            or self._head_width()
        )

    def _switches(self) -> str | None:
        """Allow booleans only: the text "no" would count as on."""
        for name in ("rotary", "null_key", "differential", "linear", "compile"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                return f"{self.prefix}{name}={value!r} is not possible: take true or false."
        return None

    def _sizes(self) -> str | None:
        """Check that sizes are 1 or more and divide each other."""
        width = f"{self.size_prefix}embed_dim={self.embed_dim}"
        heads = f"{self.size_prefix}num_heads={self.num_heads}"
        key_heads = f"{self.prefix}num_kv_heads={self.num_kv_heads}"
        sizes = {width: self.embed_dim, heads: self.num_heads, key_heads: self.num_kv_heads}
        for name, size in sizes.items():
            if size is not None and size < 1:
                return f"{name} is not possible: take 1 or more."
        if self.embed_dim % self.num_heads:
            return (
                f"{width} cannot be divided into {heads} equal heads. "
                f"Take {self.size_prefix}embed_dim={_near(self.embed_dim, self.num_heads)}."
            )
        if self.num_kv_heads is not None and self.num_heads % self.num_kv_heads:
            sizes_of_heads = range(1, self.num_heads + 1)
            divisors = [str(size) for size in sizes_of_heads if self.num_heads % size == 0]
            return f"{key_heads} does not divide {heads}. Take one of {', '.join(divisors)}."
        return None

    def _values(self) -> str | None:
        """Check that each option is in its range."""
        prefix, window, gate = self.prefix, self.window, self.gate
        if not 0.0 <= self.dropout < 1.0:
            return (
                f"{prefix}dropout={self.dropout} is not possible: take a number from 0 to below 1."
            )
        if window is not None and (type(window) is not int or window < 1):
            return (
                f"{prefix}window={window} is not possible: take the number of steps that a query "
                "sees to each side, an integer of 1 or more, or leave it out to see all keys."
            )
        if gate is not None and gate not in GATES:
            choices = " or ".join(GATES)
            return f"{prefix}gate={gate} is not possible: take {choices}, or leave it out."
        return None

    def _linear(self) -> str | None:
        """Check linear attention, which sums over the keys once for all queries."""
        if not self.linear:
            return None
        if self.score != "scaled_dot":
            return (
                f"{self.prefix}linear has a learned feature map in place of a score, so "
                f"{self._shown_score()} would not be used. "
                f"Take {self.prefix}score=scaled_dot, or leave {self.prefix}linear out."
            )
        reasons = {
            "window": "sums over all keys once, the same ones for each query",
            "null_key": "has no softmax that a null key could join",
            "differential": "has no softmax of which two could be subtracted",
            "rotary": "has a feature map that would not preserve the effect of a rotation",
            "dropout": "never forms the single weights that would be dropped",
        }
        for option, reason in reasons.items():
            if getattr(self, option):
                return (
                    f"{self.prefix}linear does not go with {self.prefix}{option}: linear attention "
                    f"{reason}. Leave one of the two out."
                )
        return None

    def _differential(self) -> str | None:
        if not (self.differential and self.null_key):
            return None
        return (
            f"{self.prefix}differential does not go with {self.prefix}null_key: 1 minus the sum of "
            "a row of a difference of two maps is not the weight of a null key. Leave one of the "
            "two out."
        )

    def _score(self) -> str | None:
        """Check what needs a certain score; a custom one may depend on the distance alone."""
        prefix = self.prefix
        if self.compile and self.score != "additive":
            return (
                f"{prefix}compile is for the additive score alone, and {self._shown_score()} runs "
                f"in a kernel that needs none. Take {prefix}score=additive, or leave "
                f"{prefix}compile out."
            )
        if self.rotary and self.score is not None and self.score not in ROTATED_SCORES:
            return (
                f"{prefix}rotary makes a score depend on the distance of two tokens alone, and "
                f"{self._shown_score()} would not. Take {prefix}score={_either(*ROTATED_SCORES)}, "
                f"or leave {prefix}rotary out."
            )
        return None

    def _head_width(self) -> str | None:
        """Check the head width: differential halves it, and rotary positions pair its values."""
        size_prefix, head_width = self.size_prefix, self.embed_dim // self.num_heads
        parts = (2 if self.differential else 1) * (2 * self.grid_axes if self.rotary else 1)
        if head_width % parts == 0:
            return None
        options = {"rotary": self.rotary, "differential": self.differential}
        wanted = " with ".join(f"{self.prefix}{name}" for name, is_on in options.items() if is_on)
        grid = " on a grid of rows and columns" if self.rotary and self.grid_axes == 2 else ""
        return (
            f"{wanted}{grid} needs heads whose width is a multiple of {parts}, and "
            f"{size_prefix}embed_dim={self.embed_dim} with {size_prefix}num_heads={self.num_heads} "
            f"gives heads of {head_width}. Take "
            f"{size_prefix}embed_dim={_near(self.embed_dim, parts * self.num_heads)}."
        )

    def _shown_score(self) -> str:
        return "a score of your own" if self.score is None else f"{self.prefix}score={self.score}"


def _near(size: int, step: int) -> str:
    """Return the multiples of `step` on both sides of `size`."""
    below = size - size % step
    return _either(*(str(near) for near in (below, below + step) if near))


def _either(*choices: str) -> str:
    """Return `a`, `a or b` or `a, b or c`."""
    return " or ".join(part for part in (", ".join(choices[:-1]), choices[-1]) if part)


def describe_mechanism(options: Mapping[str, Any]) -> str:
    """Name a mechanism by its score and what was added, such as `cosine, rotary, window=8`.

    Options are by name, as in the config group `attention`; missing ones are at their defaults.
    """
    words = ["linear" if options.get("linear") else str(options.get("score", "scaled_dot"))]
    for name in ("differential", "null_key", "rotary", "window", "gate", "num_kv_heads"):
        value = options.get(name)
        if value is True:
            words.append(name)
        elif value:
            words.append(f"{name}={value}")
    return ", ".join(words)
