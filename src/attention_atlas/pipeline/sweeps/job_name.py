"""Names of the folders of jobs in a sweep, which can be typed as `run=`."""

import hashlib
import re
from collections.abc import Sequence

from omegaconf import OmegaConf

MAX_LENGTH = 120  # file systems take 255 bytes, tables less


def job_name(overrides: Sequence[str], excluded: Sequence[str] = ()) -> str:
    """Name a job after its overrides, with letters, digits, `.`, `_` and `-` only.

    `attention=cosine seed=1` gives `attention-cosine_seed-1`. Where other characters
    were replaced, or the name was cut, a digest of the overrides follows, so that names are unique.

    Args:
        overrides: Overrides of the job, each as `key=value`.
        excluded: Keys that all jobs of the sweep have in common.
    """
    shown = sorted(line for line in overrides if line.partition("=")[0] not in excluded)
    shown = shown or sorted(overrides)
    text = "_".join("-".join(line.lstrip("+").split("=", 1)) for line in shown)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:MAX_LENGTH]
    if name == text and name:
        return name
    digest = hashlib.sha256("\n".join(shown).encode()).hexdigest()[:8]
    return f"{name}-{digest}" if name else digest


def register_job_name() -> None:
    """Register the resolver `${job_name:overrides,keys}`."""
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
