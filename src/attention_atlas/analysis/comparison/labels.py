"""Labels of groups of runs: the mechanism, and the options that distinguish their configs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attention_atlas.analysis.comparison.runs import ComparedRun

MAX_OPTIONS = 6  # in a label
PARTS = ("encoder", "trainer", "optimizer", "attention")  # whose options come first
# Options of attention that the description of a mechanism contains already.
IN_MECHANISM = {
    f"attention.{name}"
    for name in (
        "score",
        "linear",
        "differential",
        "null_key",
        "rotary",
        "window",
        "gate",
        "num_kv_heads",
    )
}
# Keys that are left out of a label: `encoder=small` for `encoder.name`, `optimizer=SGD`.
IMPLIED_KEYS = ("name", "_target_")


def label_groups(runs: Sequence[ComparedRun]) -> list[str]:
    """Return a label for each group, unique within a data set, from one run of each.

    A label is the mechanism, such as `cosine, rotary`, and in brackets the options that differ
    between the groups of its task and data.
    """
    words = [_what_differs(run, runs) for run in runs]
    labels = [_label(run, each) for run, each in zip(runs, words, strict=True)]
    taken = Counter((run.task, run.data, label) for run, label in zip(runs, labels, strict=True))
    return [
        label if taken[run.task, run.data, label] == 1 else _label(run, [*each, str(run.run)])
        for run, label, each in zip(runs, labels, words, strict=True)
    ]


def _label(run: ComparedRun, words: Sequence[str]) -> str:
    return run.mechanism + (f" ({', '.join(words)})" if words else "")


def _what_differs(run: ComparedRun, runs: Sequence[ComparedRun]) -> list[str]:
    """Format the options of a run that are not the same in all runs of its task and data."""
    beside = [other for other in runs if (other.task, other.data) == (run.task, run.data)]
    words = [run.split] if run.split != "test" and len(beside) > 1 else []
    own = run.options
    if own is None:
        return words
    configs = [other.options for other in beside if other.options is not None]
    names = list(dict.fromkeys(name for config in configs for name in config))
    leaves = Counter(_leaf(name) for name in names)
    named = [
        f"{_short(name, is_unique=leaves[_leaf(name)] == 1)}={_format_value(name, own[name])}"
        for name in _differing(names, configs)
        if name in own
    ]
    if len(named) > MAX_OPTIONS:
        named = [*named[:MAX_OPTIONS], f"and {len(named) - MAX_OPTIONS} more"]
    return [*named, *words]


def _differing(names: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of options that differ, those of `PARTS` first."""
    values = {name: [str(config.get(name)) for config in configs] for name in names}
    differing = [n for n in names if len(set(values[n])) > 1 and n not in IN_MECHANISM]
    # `data.augmentation.flip` takes its value from `augmentation.flip`: one of the two is enough.
    copies = {
        name
        for name in differing
        for source in differing
        if name.endswith(f".{source}") and values[name] == values[source]
    }
    parts = {part: index for index, part in enumerate(PARTS)}
    return sorted(
        (name for name in differing if name not in copies),
        key=lambda name: parts.get(name.split(".")[0], len(parts)),
    )


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _short(name: str, is_unique: bool) -> str:
    part, _, leaf = name.rpartition(".")
    if part and leaf in IMPLIED_KEYS:
        return part
    return leaf if is_unique else name


def _format_value(name: str, value: Any) -> str:
    if _leaf(name) == "_target_":
        return str(value).rpartition(".")[2]
    return "true" if value is True else str(value)
