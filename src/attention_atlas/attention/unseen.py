"""Modules that ran while a model was watched, and of which no map is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from torch import nn

from attention_atlas.attention.observers import Watcher

ATTENTION = re.compile(r"(Attention|Attn)(?!\w*(Output|Projection|Norm)$)")
OTHERS = re.compile(
    r"Mamba|SSM|StateSpace|Delta(Net|Att)|R[Ww][Kk][Vv]|Recurrent|Linear(Self)?Att|LightningAtt"
    r"|Retention|ShortConv|Hyena|[ms]LSTM|Deformable"
)


@cache
def is_named_attention(name: str) -> bool:
    """Whether a class is named after attention."""
    return ATTENTION.search(name) is not None


def unseen_modules(watcher: Watcher) -> dict[str, str]:
    """Return the names of these modules, with what they do, the innermost of nested ones."""
    found = {
        name: reason
        for name, module in watcher.ran.items()
        if (reason := _reason(module)) and not _is_near(name, watcher.seen)
    }
    innermost = _innermost(found)
    return {name: reason for name, reason in found.items() if name in innermost}


def _innermost(names: Iterable[str]) -> set[str]:
    """Return the names of modules that hold none of the others."""
    every = set(names)
    holders = {name[:end] for name in every for end, sign in enumerate(name) if sign == "."}
    return every - holders


def _reason(module: nn.Module) -> str | None:
    name = type(module).__name__
    if OTHERS.search(name):
        return f"{name} does not attend by a softmax over keys"
    if is_named_attention(name):
        return f"{name} attends in a way that is not known"
    return None


def _is_near(name: str, seen: set[str]) -> bool:
    """Whether a module is in one that was seen, or has one in it."""
    return any(f"{a}.".startswith(f"{b}.") for s in seen for a, b in ((name, s), (s, name)))


def why_missed(
    model: nn.Module, watcher: Watcher, missed: Sequence[str], unseen: Mapping[str, str]
) -> str:
    """Return the error message for a recording that lacks what was asked for."""
    name = type(model).__name__
    if not watcher.ran:
        return (
            f"Nothing was recorded: {name} did not run inside the `with` block, in the thread that "
            "opened it. Call the model itself, not a part that stands outside of it."
        )
    if unseen:
        listing = "; ".join(f"{each} ({why})" for each, why in unseen.items())
        return f"Nothing was recorded of {name}: {listing}."
    if missed and watcher.seen:
        return (
            f"{', '.join(map(repr, missed))} did not attend while {name} ran; these did: "
            f"{', '.join(watcher.seen)}."
        )
    return f"Nothing was recorded: nothing attends in {name}, as far as can be seen."
