"""Which code a config may name: classes of a kind, each in its place, found without a detour.

A config may come from someone else's run folder. So a name is looked at twice: `check_targets`
compares it with the list and imports nothing; `find_target` looks what it really stands for.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from attention_atlas.data.check import MODALITIES
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class Kind:
    """Code that may be named in one place of a config.

    Attributes:
        names: Single names.
        modules: Modules of which every public class of the kind may be named.
        base: The class that those derive from, as `module.Name`.
        left_out: Classes of those modules that may not be named.
    """

    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    base: str = ""
    left_out: tuple[str, ...] = ()

    def has(self, target: Any) -> bool:
        """Whether a name is one of the kind by its letters."""
        if not isinstance(target, str):
            return False
        module, _, name = target.rpartition(".")
        public = name.isidentifier() and not name.startswith("_")
        return target in self.names or (
            module in self.modules and public and target not in self.left_out
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
        left_out=("lightning.pytorch.callbacks.LambdaCallback",),  # calls what it is given
    ),
    "logger": Kind(modules=("lightning.pytorch.loggers",), base="lightning.pytorch.loggers.Logger"),
}
"""What each node of the config may name; only the profiler of a trainer stands within another."""


def check_targets(node: Any, path: str = "") -> None:
    """Check every `_target_` in a plain config by its name and its place.

    Args:
        node: The config or a part of it, resolved.
        path: Its key, as it is typed; with none, a `_target_` may be of any kind.

    Raises:
        InputError: A target is not on the allow list, or not for this place.
    """
    _check(node, path, within=None)


def find_target(target: str) -> Callable[..., Any]:
    """Import what a name on the allow list stands for.

    A class that a module merely imported is not one of that module, unless its package has it:
    `torch.optim.SGD` is defined in `torch.optim.sgd`.

    Raises:
        InputError: It is not on the allow list, there is nothing of that name, or what the name
            stands for is defined elsewhere, under another name, or is of another kind.
    """
    kind = next((kind for kind in [*KINDS.values(), PROFILER] if kind.has(target)), None)
    if kind is None:
        raise InputError(f"{target} is not allowed: configs may not name it.")
    target = RENAMED.get(target, target)
    module, _, name = target.rpartition(".")
    found = getattr(import_module(module), name, None)
    if found is None:
        raise InputError(f"There is no {target} to build.")
    is_code = inspect.isclass(found) or (inspect.isfunction(found) and target in kind.names)
    if not is_code or found.__qualname__ != name or not _lies_in(found.__module__, module):
        raise InputError(f"{target} is not allowed: {module} does not define it, it imports it.")
    if kind.base and not issubclass(found, _base(kind)):
        raise InputError(f"{target} is not allowed: it is no {kind.base}.")
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


def _check(node: Any, path: str, within: str | None) -> None:
    """Check a node; `within` is the target of the nearest node around it that has one."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            target = node["_target_"]
            kinds = _kinds_at(path, within)
            if not any(kind.has(target) for kind in kinds):
                raise InputError(_refusal(target, path, kinds))
            within = target
        for key, value in node.items():
            _check(value, f"{path}.{key}" if path else str(key), within)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _check(value, f"{path}[{index}]", within)


def _kinds_at(path: str, within: str | None) -> list[Kind]:
    """What may be named at a place."""
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
    given = f"{path or 'config'}._target_={target} is not allowed"
    if not kinds:
        return f"{given}: nothing is built in this place."
    if not path:
        return f"{given}: configs may name {'; '.join(map(str, kinds))}."
    return f"{given}: this place takes {kinds[0]}."


def _lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _base(kind: Kind) -> type:
    module, _, name = kind.base.rpartition(".")
    base: type = getattr(import_module(module), name)
    return base
