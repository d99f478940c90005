"""Read what the jobs of a sweep left in their folders."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from attention_atlas.errors import InputError
from attention_atlas.run_folder import FAILURE, HYDRA, OVERRIDES, RESULT, read_json, read_yaml

Value = int | float | str
"""Of an option: a number, or the text that was typed."""


class State(StrEnum):
    """How far a job came."""

    FINISHED = "finished"
    PRUNED = "pruned"  # ended early, because it was hopeless
    UNFINISHED = "unfinished"  # still running, or interrupted
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """What the folder of a job says.

    Attributes:
        folder: Of the job.
        state: How far it came.
        options: Its own overrides, by their names; None where they cannot be read.
        result: What `result.json` holds; empty before there is one.
        reason: Why it failed.
        ended: When it finished or failed, in seconds since 1970; None before that.
    """

    folder: Path
    state: State
    options: dict[str, Value] | None
    result: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    ended: float | None = None


def find_jobs(folder: Path) -> list[Path]:
    """Return the folders of jobs in the folder of a sweep, sorted by their names."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.") from error
    return [path for path in inside if not path.name.startswith(".") and is_job(path)]


def is_job(folder: Path) -> bool:
    """Say whether a folder is one of a run, of a sweep or not."""
    try:
        return folder.is_dir() and any(
            (folder / name).exists() for name in (HYDRA, RESULT, FAILURE)
        )
    except OSError:
        return False


def read_job(folder: Path) -> Job:
    """Read the folder of a job; files that are damaged make it a failed one."""
    options = _read_options(folder)
    for name in (RESULT, FAILURE):
        try:
            content = read_json(folder, name)
            if content is None:
                continue
            ended = os.stat(folder / name).st_mtime
        except (InputError, OSError) as error:
            return Job(folder, State.FAILED, options, reason=str(error))
        if name == FAILURE:
            sentence = str(content.get("sentence") or "it is not said why.")
            return Job(folder, State.FAILED, options, reason=sentence, ended=ended)
        state = State.PRUNED if content.get("pruned") is True else State.FINISHED
        return Job(folder, state, options, content, ended=ended)
    return Job(folder, State.UNFINISHED, options)


def _read_options(folder: Path) -> dict[str, Value] | None:
    """Return the overrides of a job by their names, in their order; the last one of a name."""
    try:
        overrides = read_yaml(folder, OVERRIDES)
    except InputError:
        return None
    if not isinstance(overrides, Sequence):
        return None
    return parse_overrides([each for each in overrides if isinstance(each, str)])


def parse_overrides(overrides: Sequence[str]) -> dict[str, Value]:
    """Return overrides such as `+optimizer.lr=1e-3` by their names, numbers as numbers."""
    options: dict[str, Value] = {}
    for override in overrides:
        name, mark, value = override.partition("=")
        if name.startswith("~"):
            options[name.removeprefix("~")] = "deleted"
        elif mark:
            options[name.lstrip("+")] = _parse(value)
    return options


def _parse(text: str) -> Value:
    with suppress(ValueError):
        number = float(text)
        if math.isfinite(number):
            return int(text) if text.lstrip("+-").isdecimal() else number
    quote = text[:1]
    if len(text) > 1 and quote in ("'", '"') and text.endswith(quote):
        return text[1:-1].replace(f"\\{quote}", quote)
    return text
