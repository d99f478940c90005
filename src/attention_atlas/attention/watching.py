"""Watch what attends in a model while it runs, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from attention_atlas.attention.compiled import uncompiled
from attention_atlas.attention.huggingface import watched_interface
from attention_atlas.attention.observers import Observer, Watcher
from attention_atlas.attention.returned_weights import returned_weights
from attention_atlas.attention.selection import attends, module_names
from attention_atlas.attention.torch_functions import watched_functions


@contextmanager
def watch(model: nn.Module, observer: Observer) -> Iterator[Watcher]:
    """Notify an observer of every pass of attention in a model, in this thread, meanwhile."""
    names = module_names(model)
    watcher = Watcher(names, observer)
    modules = [each for each in names if each is model or _is_own(each)]
    with ExitStack() as stack:
        stack.enter_context(watched_functions(modules))
        stack.enter_context(watched_interface())
        stack.enter_context(uncompiled(list(names)))
        stack.enter_context(watcher.follow(modules))
        stack.enter_context(returned_weights(watcher))
        yield watcher


def _is_own(module: nn.Module) -> bool:
    """Whether a module may attend: those of torch do not, but for one."""
    return attends(module) or not type(module).__module__.startswith("torch.nn.")
