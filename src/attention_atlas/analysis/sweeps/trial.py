"""Read the trials of a sweep: the jobs in its folder, finished or not."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from attention_atlas.errors import InputError
from attention_atlas.run_folder import FAILURE, OVERRIDES, RESULT, read_json, read_yaml

SEED = "seed"
MAX_INTEGER = 10**300  # of those that a float can hold

Value = int | float | str
"""Value of an override: a number, or the text that was typed."""


class State(StrEnum):
    """Progress of a job, in the order of ranks."""

    FINISHED = "finished"
    PRUNED = "pruned"  # ended early, because it was worse than others
    UNFINISHED = "unfinished"  # still running, or interrupted
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """A job of a sweep.

    Attributes:
        folder: Folder of the job.
        state: Its progress.
        overrides: Its overrides by name; None where they cannot be read.
        numbers: The numbers in `result.json` by name; empty before it is finished.
        value: The metric; None without one.
        parameters: The overrides that differ between jobs; None where this one lacks it.
        failure: Why it failed, or cannot be ranked.
        ended: Time when it finished or failed, in seconds since 1970.
    """

    folder: Path
    state: State
    overrides: dict[str, Value] | None
    numbers: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    parameters: dict[str, Value | None] = field(default_factory=dict)
    failure: str | None = None
    ended: float | None = None

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    @property
    def seed(self) -> int | None:
        """Seed of the result, or of the overrides before there is one."""
        seed = self.numbers.get(SEED, (self.overrides or {}).get(SEED))
        return seed if isinstance(seed, int) else None

    @property
    def cpu_seconds(self) -> float | None:
        """CPU time of the finished job."""
        seconds = self.numbers.get("cpu_seconds")
        return seconds if math.isfinite(seconds or 0) else None


def read_trial(folder: Path) -> Trial:
    """Read the folder of a job; damaged files make it a failed one."""
    overrides = _read_overrides(folder)
    for name in (RESULT, FAILURE):
        try:
            content = read_json(folder, name)
            if content is None:
                continue
            ended = os.stat(folder / name).st_mtime
        except (InputError, OSError) as error:
            return Trial(folder, State.FAILED, overrides, failure=str(error))
        if name == FAILURE:
            reason = str(content.get("sentence") or "the reason is unknown.")
            return Trial(folder, State.FAILED, overrides, failure=reason, ended=ended)
        state = State.PRUNED if content.get("pruned") is True else State.FINISHED
        return Trial(folder, state, overrides, _numbers(content), ended=ended)
    return Trial(folder, State.UNFINISHED, overrides)


def _numbers(result: dict[str, Any]) -> dict[str, float]:
    """Return the numbers in a result by name, without integers that a float cannot hold."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, float)
        or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_INTEGER)
    }


def _read_overrides(folder: Path) -> dict[str, Value] | None:
    try:
        overrides = read_yaml(folder, OVERRIDES)
    except InputError:
        return None
    if not isinstance(overrides, Sequence):
        return None
    return parse_overrides([each for each in overrides if isinstance(each, str)])


def parse_overrides(overrides: Sequence[str]) -> dict[str, Value]:
    """Return overrides such as `+optimizer.lr=1e-3` by name, the last one of each name."""
    values: dict[str, Value] = {}
    for override in overrides:
        name, mark, value = override.partition("=")
        if name.startswith("~"):
            values[name.removeprefix("~")] = "deleted"
        elif mark:
            values[name.lstrip("+")] = _parse(value)
    return values


def _parse(text: str) -> Value:
    with suppress(ValueError):
        number = float(text)
        if math.isfinite(number):
            return int(text) if text.lstrip("+-").isdecimal() else number
    quote = text[:1]
    if len(text) > 1 and quote in ("'", '"') and text.endswith(quote):
        return text[1:-1].replace(f"\\{quote}", quote)
    return text
