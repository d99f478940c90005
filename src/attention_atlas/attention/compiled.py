"""Run compiled models as they are written while they are watched."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def uncompiled(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Show the calls that `torch.compile` hides."""
    if not any(_is_compiled(module) for module in modules):
        yield
        return
    warnings.warn(
        f"{type(modules[0]).__name__} is compiled, and runs as it is written while it is recorded: "
        "its outputs may differ by rounding.",
        stacklevel=2,
    )
    with torch.compiler.set_stance("force_eager"):
        yield


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
