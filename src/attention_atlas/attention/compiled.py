"""Run compiled models as they are written while they are watched."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

_lock = threading.Lock()
_users = 0
_slow_path = ExitStack()


@contextmanager
def uncompiled(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Show the calls that `torch.compile` and the fast path of `nn.TransformerEncoder` hide."""
    with ExitStack() as stack:
        stack.enter_context(_without_fast_path())
        if any(_is_compiled(module) for module in modules):
            warnings.warn(
                f"{type(modules[0]).__name__} is compiled, and runs as it is written while it is "
                "recorded: its outputs may differ by rounding.",
                stacklevel=2,
            )
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Switch off the fused path of `nn.TransformerEncoder`, until all who watch have ended."""
    global _users
    with _lock:
        if _users == 0 and torch.backends.mha.get_fastpath_enabled():
            torch.backends.mha.set_fastpath_enabled(False)
            _slow_path.callback(torch.backends.mha.set_fastpath_enabled, True)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _slow_path.close()
