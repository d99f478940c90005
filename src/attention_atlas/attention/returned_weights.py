"""The weights that a model returns itself, where no attention function is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from attention_atlas.attention.observers import Watcher


@contextmanager
def returned_weights(model: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Ask models of transformers for their weights."""
    yield
