"""Folders of sweeps as jobs leave them, without training."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

CONFIG = {
    "callbacks": {"checkpoint": {"monitor": "val/accuracy", "mode": "max"}},
    "sweep": {"metric": "${callbacks.checkpoint.monitor}"},
}
STARTED = 1_750_000_000  # seconds since 1970


def write_job(
    sweep: Path,
    name: str,
    overrides: list[str],
    result: Mapping[str, Any] | None = None,
    failure: str | None = None,
    config: Mapping[str, Any] = CONFIG,
    ended: int = 0,
) -> Path:
    """A job in the folder of a sweep; unfinished unless it has a result or a failure.

    `ended` is when, in seconds since the sweep began.
    """
    job = sweep / name
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides), encoding="utf-8")
    (job / ".hydra" / "config.yaml").write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    if result is not None:
        (job / "result.json").write_text(json.dumps(result))
        os.utime(job / "result.json", (STARTED + ended, STARTED + ended))
    if failure is not None:
        content = {"sentence": failure, "time": "2026-01-31T12:00:00"}
        (job / "failure.json").write_text(json.dumps(content))
        os.utime(job / "failure.json", (STARTED + ended, STARTED + ended))
    return job


def write_known(sweep: Path, num_trials: int, slope: float = 3.0, noise: float = 0.1) -> Path:
    """Trials with value = slope * x + noise, x uniform in [0, 1]; `score` and `seed` do nothing."""
    draw = np.random.default_rng(0)
    for number in range(num_trials):
        x, seed = float(draw.uniform()), number % 3
        score = ("dot", "cosine", "additive")[int(draw.integers(3))]
        result = {
            "task": "nlp",
            "seed": seed,
            "cpu_seconds": 10.0 + number,
            "val/loss": slope * x + noise * float(draw.normal()),
        }
        overrides = ["task=nlp", f"optimizer.x={x}", f"attention={score}", f"seed={seed}"]
        config = {"sweep": {"metric": "val/loss"}}
        write_job(sweep, f"trial-{number:02}", overrides, result, config=config, ended=60 * number)
    return sweep
