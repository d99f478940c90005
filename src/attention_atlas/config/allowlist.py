"""The allow list of the code that a config may name, for each of its nodes.

A config may come from someone else's run folder. `check_targets` compares names with the list and
imports nothing; `find_target` imports a name of the list and checks the class that it stands for.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hydra.utils import get_class

from attention_atlas.data.check import MODALITIES
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class Kind:
    """Code that may be named in one node of a config.

    Attributes:
        names: Single names.
        modules: Modules whose public classes of the kind may be named.
        base: The class that they derive from, as `module.Name`.
        excluded: Classes of those modules that may not be named.
    """

    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    base: str = ""
    excluded: tuple[str, ...] = ()

    def has(self, target: Any) -> bool:
        """Return whether a name is spelled like one of the kind."""
        if not isinstance(target, str):
            return False
        module, _, name = target.rpartition(".")
        public = name.isidentifier() and not name.startswith("_")
        return target in self.names or (
            module in self.modules and public and target not in self.excluded
        )

    def __str__(self) -> str:
        return " or ".join([*self.names, *(f"a class of {module}" for module in self.modules)])


TASKS_OF_0_1 = tuple(
    f"attention_atlas.tasks.{name}"
    for name in ("text.TextTask", "image.ImageTask", "speech.SpeechTask")
)
CALLBACKS = "attention_atlas.pipeline.callbacks"
RENAMED = {
    **dict.fromkeys(TASKS_OF_0_1, "attention_atlas.tasks.base.ClassificationTask"),
    f"{CALLBACKS}.Cost": f"{CALLBACKS}.Timing",
    f"{CALLBACKS}.EndsOnSignal": f"{CALLBACKS}.SignalHandler",
    f"{CALLBACKS}.EpochLines": f"{CALLBACKS}.EpochLogger",
    f"{CALLBACKS}.RandomStates": f"{CALLBACKS}.RngState",
    f"{CALLBACKS}.StaysStopped": f"{CALLBACKS}.KeepEarlyStop",
    f"{CALLBACKS}.StopsOnNonFinite": f"{CALLBACKS}.NonFiniteLoss",
}
"""Names in the configs and checkpoints of earlier runs, and what they are called now."""

TRAINER = "lightning.pytorch.Trainer"
PROFILER = Kind(
    modules=("lightning.pytorch.profilers",), base="lightning.pytorch.profilers.Profiler"
)
KINDS = {
    "data": Kind(names=tuple(MODALITIES)),
    "task": Kind(names=("attention_atlas.tasks.base.ClassificationTask", *TASKS_OF_0_1)),
    "optimizer": Kind(modules=("torch.optim",), base="torch.optim.Optimizer"),
    "schedule": Kind(
        names=(
            "attention_atlas.tasks.optimization.constant",
            "attention_atlas.tasks.optimization.cosine",
        )
    ),
    "trainer": Kind(names=(TRAINER,)),
    "callbacks": Kind(
        modules=(CALLBACKS, "lightning.pytorch.callbacks"),
        base="lightning.pytorch.Callback",
        excluded=("lightning.pytorch.callbacks.LambdaCallback",),  # calls its arguments
    ),
    "logger": Kind(modules=("lightning.pytorch.loggers",), base="lightning.pytorch.loggers.Logger"),
}
"""The code that each node of a config may name; only a trainer has another node within."""


def check_targets(node: Any, path: str = "", within: str | None = None) -> None:
    """Check every `_target_` in a plain config by its name and its node.

    Args:
        node: The config or a part of it, resolved.
        path: Its key, as it is typed; without one, a `_target_` may be of any kind.
        within: The target of the nearest node around it that has one.

    Raises:
        InputError: A target is not on the allow list, or not for this node.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            target = node["_target_"]
            kinds = _kinds_at(path, within)
            if not any(kind.has(target) for kind in kinds):
                raise InputError(_refusal(target, path, kinds))
            within = target
        for key, value in node.items():
            check_targets(value, f"{path}.{key}" if path else str(key), within)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            check_targets(value, f"{path}[{index}]", within)


def find_target(target: str) -> Callable[..., Any]:
    """Import a class or function of the allow list.

    Raises:
        InputError: It is not on the allow list, does not exist, or is not a class of the kind, such
            as a class that the module merely imported.
    """
    kind = next((kind for kind in [*KINDS.values(), PROFILER] if kind.has(target)), None)
    if kind is None:
        raise InputError(f"{target} is not allowed: configs may not name it.")
    target = RENAMED.get(target, target)
    module, _, name = target.rpartition(".")
    found = getattr(import_module(module), name, None)
    if found is None:
        raise InputError(f"There is no {target} to build.")
    if kind.base and not (inspect.isclass(found) and issubclass(found, get_class(kind.base))):
        raise InputError(f"{target} is not allowed: it is not a {kind.base}.")
    code: Callable[..., Any] = found
    return code


def rename_targets(node: Any) -> Any:
    """Return a plain config with the current name of each `_target_`."""
    if isinstance(node, Mapping):
        renamed = {key: rename_targets(value) for key, value in node.items()}
        if isinstance(target := node.get("_target_"), str):
            renamed["_target_"] = RENAMED.get(target, target)
        return renamed
    return [rename_targets(value) for value in node] if isinstance(node, list) else node


def _kinds_at(path: str, within: str | None) -> list[Kind]:
    """Return the kinds of code that a node may name."""
    if within is not None:
        is_profiler = within == TRAINER and path.rpartition(".")[2] == "profiler"
        return [PROFILER] if is_profiler else []
    if not path:
        return [*KINDS.values(), PROFILER]
    top, _, rest = path.partition(".")
    if top not in KINDS or (top == "callbacks") != bool(rest) or "." in rest or "[" in path:
        return []
    return [KINDS[top]]


def _refusal(target: Any, path: str, kinds: list[Kind]) -> str:
    refused = f"{path or 'config'}._target_={target} is not allowed"
    if not kinds:
        return f"{refused}: nothing is built here."
    if not path:
        return f"{refused}: configs may name {'; '.join(map(str, kinds))}."
    return f"{refused}: take {kinds[0]}."
