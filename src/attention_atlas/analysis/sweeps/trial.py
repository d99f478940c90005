"""One job of a sweep."""

from dataclasses import dataclass
from pathlib import Path

from attention_atlas.analysis.sweeps.jobs import State, Value

SEED = "seed"


@dataclass(frozen=True)
class Trial:
    """A job of a sweep.

    Attributes:
        folder: Of the job.
        state: How far it came.
        value: Of the metric; None where there is none.
        parameters: What differs between jobs; None where this one has no such override.
        seed: None where the job does not say.
        cpu_seconds: None before it finished.
        failure: Why it failed, or cannot be ranked; None where nothing is wrong.
        ended: When it finished or failed, in seconds since 1970; None before that.
    """

    folder: Path
    state: State
    value: float | None
    parameters: dict[str, Value | None]
    seed: int | None = None
    cpu_seconds: float | None = None
    failure: str | None = None
    ended: float | None = None

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name
