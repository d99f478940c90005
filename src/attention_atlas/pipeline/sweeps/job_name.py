"""The name of a job's folder in a sweep, which can be typed and given as `run=`."""

import hashlib
import re
from collections.abc import Sequence

from omegaconf import OmegaConf

LONGEST_NAME = 120  # of the 255 bytes that file systems take, and of what a table can show


def job_name(overrides: Sequence[str], left_out: Sequence[str] = ()) -> str:
    """Name a job after its overrides, with letters, digits, `.`, `_` and `-` only.

    `attention=cosine seed=1` gives `attention-cosine_seed-1`. Where another sign had to give way,
    or the name was cut, a digest of the overrides follows, so that no two jobs share a name.

    Args:
        overrides: Of the job, each as `key=value`.
        left_out: Keys that all jobs of the sweep have in common.
    """
    shown = sorted(line for line in overrides if line.partition("=")[0] not in left_out)
    shown = shown or sorted(overrides)
    words = "_".join("-".join(line.lstrip("+").split("=", 1)) for line in shown)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("._-")[:LONGEST_NAME]
    if name == words and name:
        return name
    digest = hashlib.sha256("\n".join(shown).encode()).hexdigest()[:8]
    return f"{name}-{digest}" if name else digest


def register_job_name() -> None:
    """Let configs write `${job_name:overrides,keys}`."""
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
