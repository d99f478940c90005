"""Which options of attention may be combined; without torch, so that configs are checked early."""

from collections.abc import Mapping
from typing import Any

GATES = ("headwise", "elementwise")
"""Gates for the output of a head, by one number or by one for each of its values."""

ROTATED_SCORES = ("dot", "scaled_dot", "cosine")
"""Scores that depend only on the distance of two tokens once query and key are rotated."""


def find_conflict(
    embed_dim: int,
    num_heads: int,
    *,
    score: str | None = "scaled_dot",
    dropout: float = 0.0,
    num_kv_heads: int | None = None,
    rotary: bool = False,
    window: int | None = None,
    gate: str | None = None,
    null_key: bool = False,
    differential: bool = False,
    linear: bool = False,
    compile: bool = False,
    grid_axes: int = 1,
    prefix: str = "",
    size_prefix: str = "",
) -> str | None:
    """Return why options of `Attention` cannot be combined; None if they can.

    The options up to `compile` are those of `Attention`; a custom `Score` is None. `grid_axes` is 1
    for tokens in a line, 2 for tokens on a grid of rows and columns. In the message, `prefix`
    precedes the names of the options, such as `attention.` in a config, and `size_prefix` those of
    `embed_dim` and `num_heads`.

    Returns:
        One or two sentences: the conflict, the reason, and what to take instead.
    """
    switches = {
        "rotary": rotary,
        "null_key": null_key,
        "differential": differential,
        "linear": linear,
        "compile": compile,
    }
    return (
        _switches(switches, prefix)
        or _sizes(embed_dim, num_heads, num_kv_heads, prefix, size_prefix)
        or _values(dropout, window, gate, prefix)
        or (linear and _linear(score, dropout, rotary, window, null_key, differential, prefix))
        or (differential and null_key and _differential_null_key(prefix))
        or (compile and score != "additive" and _compile(score, prefix))
        or (rotary and _rotated_score(score, prefix))
        or _head_width(embed_dim, num_heads, rotary, differential, grid_axes, prefix, size_prefix)
        or None
    )


def _switches(switches: Mapping[str, Any], prefix: str) -> str | None:
    """Allow booleans only: the text "no" would count as on."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            return f"{prefix}{name}={value!r} is not possible: take true or false."
    return None


def _sizes(
    embed_dim: int, num_heads: int, num_kv_heads: int | None, prefix: str, size_prefix: str
) -> str | None:
    """Check that sizes are 1 or more and divide each other."""
    width, heads = f"{size_prefix}embed_dim={embed_dim}", f"{size_prefix}num_heads={num_heads}"
    key_heads = f"{prefix}num_kv_heads={num_kv_heads}"
    for name, size in ((width, embed_dim), (heads, num_heads), (key_heads, num_kv_heads)):
        if size is not None and size < 1:
            return f"{name} is not possible: take 1 or more."
    if embed_dim % num_heads:
        return (
            f"{width} cannot be divided into {heads} equal heads. "
            f"Take {size_prefix}embed_dim={_near(embed_dim, num_heads)}."
        )
    if num_kv_heads is not None and num_heads % num_kv_heads:
        divisors = [str(size) for size in range(1, num_heads + 1) if num_heads % size == 0]
        return f"{key_heads} does not divide {heads}. Take one of {', '.join(divisors)}."
    return None


def _values(dropout: float, window: int | None, gate: str | None, prefix: str) -> str | None:
    """Check that each option is in its range."""
    if not 0.0 <= dropout < 1.0:
        return f"{prefix}dropout={dropout} is not possible: take a number from 0 to below 1."
    if window is not None and (type(window) is not int or window < 1):
        return (
            f"{prefix}window={window} is not possible: take the number of steps that a query "
            "sees to each side, an integer of 1 or more, or leave it out to see all keys."
        )
    if gate is not None and gate not in GATES:
        return f"{prefix}gate={gate} is not possible: take {' or '.join(GATES)}, or leave it out."
    return None


def _linear(
    score: str | None,
    dropout: float,
    rotary: bool,
    window: int | None,
    null_key: bool,
    differential: bool,
    prefix: str,
) -> str | None:
    """Check linear attention, which sums over the keys once for all queries, without a softmax."""
    if score != "scaled_dot":
        return (
            f"{prefix}linear has a learned feature map in place of a score, so "
            f"{_shown(score, prefix)} would not be used. "
            f"Take {prefix}score=scaled_dot, or leave {prefix}linear out."
        )
    reasons = {
        "window": (window is not None, "sums over all keys once, the same ones for each query"),
        "null_key": (null_key, "has no softmax that a null key could join"),
        "differential": (differential, "has no softmax of which two could be subtracted"),
        "rotary": (rotary, "has a feature map that would not preserve the effect of a rotation"),
        "dropout": (dropout > 0, "never forms the single weights that would be dropped"),
    }
    for option, (is_on, reason) in reasons.items():
        if is_on:
            return (
                f"{prefix}linear does not go with {prefix}{option}: linear attention {reason}. "
                "Leave one of the two out."
            )
    return None


def _differential_null_key(prefix: str) -> str:
    return (
        f"{prefix}differential does not go with {prefix}null_key: 1 minus the sum of a row of "
        "a difference of two maps is not the weight of a null key. Leave one of the two out."
    )


def _compile(score: str | None, prefix: str) -> str:
    return (
        f"{prefix}compile is for the additive score alone, and {_shown(score, prefix)} runs in "
        f"a kernel that needs none. Take {prefix}score=additive, or leave {prefix}compile out."
    )


def _rotated_score(score: str | None, prefix: str) -> str | None:
    """Check the score of rotary positions; a custom score may depend on the distance alone."""
    if score is None or score in ROTATED_SCORES:
        return None
    return (
        f"{prefix}rotary makes a score depend on the distance of two tokens alone, and "
        f"{_shown(score, prefix)} would not. Take {prefix}score={_either(*ROTATED_SCORES)}, or "
        f"leave {prefix}rotary out."
    )


def _head_width(
    embed_dim: int,
    num_heads: int,
    rotary: bool,
    differential: bool,
    grid_axes: int,
    prefix: str,
    size_prefix: str,
) -> str | None:
    """Check the head width: differential attention halves it, rotary positions pair its values."""
    parts = (2 if differential else 1) * (2 * grid_axes if rotary else 1)
    head_width = embed_dim // num_heads
    if head_width % parts == 0:
        return None
    options = {"rotary": rotary, "differential": differential}
    wanted = " with ".join(f"{prefix}{name}" for name, is_on in options.items() if is_on)
    grid = " on a grid of rows and columns" if rotary and grid_axes == 2 else ""
    return (
        f"{wanted}{grid} needs heads whose width is a multiple of {parts}, and "
        f"{size_prefix}embed_dim={embed_dim} with {size_prefix}num_heads={num_heads} gives heads "
        f"of {head_width}. Take {size_prefix}embed_dim={_near(embed_dim, parts * num_heads)}."
    )


def _shown(score: str | None, prefix: str) -> str:
    return "a score of your own" if score is None else f"{prefix}score={score}"


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
