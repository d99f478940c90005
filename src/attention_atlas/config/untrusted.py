"""Read the config of a training run, which may come from someone else. Never imports torch."""

from pathlib import Path

from omegaconf import DictConfig

from attention_atlas.config.allowlist import check_targets
from attention_atlas.errors import InputError
from attention_atlas.run_config import read_config
from attention_atlas.run_folder import CONFIG, is_run, runs_in


def read_run_config(folder: Path) -> DictConfig:
    """Read the composed config of a run.

    Raises:
        InputError: The folder is not one of a run, or its config cannot be read, is too large,
            would grow without end, names code that is not allowed, or reads environment variables.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"run={folder} {what}; give the folder of a run: outputs/<task>/<time>.")
    found = read_config(folder)
    if found is None:
        runs = [run for run in runs_in(folder) if is_run(run)]
        inside = f" It holds runs: take {runs[-1]}, for example." if runs else ""
        raise InputError(f"run={folder} is not a run folder: it has no {CONFIG}.{inside}")
    config, values = found
    check_targets(values)
    if not all(isinstance(values.get(name), dict) for name in ("task", "data", "trainer")):
        raise InputError(
            f"run={folder} is not the folder of a training run: its {CONFIG} has no task, data, "
            "trainer."
        )
    return config
