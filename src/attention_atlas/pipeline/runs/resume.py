"""Find the unfinished run of the same command, to resume it. Never imports torch."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from attention_atlas.config.allowlist import rename_targets
from attention_atlas.config.plain import unresolved
from attention_atlas.errors import InputError
from attention_atlas.pipeline.runs.lock import is_free
from attention_atlas.run_folder import CONFIG, is_finished, is_run, read_yaml

OF_THE_COMMAND = ("resume", "sweep", "run_folder")
"""Keys that say how to start a run, not what it is."""


def find_unfinished_run(folder: Path, config: DictConfig) -> Path | None:
    """Return the run that this config resumes.

    Args:
        folder: Where a new run would be written. If it exists, it must hold this run; otherwise the
            newest one beside it is taken that is unfinished and that no process writes.
        config: Composed.

    Raises:
        InputError: The folder exists and holds another run.
    """
    wanted = run_record(config)
    if is_run(folder):
        if _recorded_run(folder) == wanted:
            return folder
        raise InputError(
            f"{folder} holds a run of another config: take another folder, or the command that "
            "started it."
        )
    return next(
        (
            run
            for run in newest_first(folder.parent)
            if not is_finished(run) and _recorded_run(run) == wanted and is_free(run)
        ),
        None,
    )


def run_record(config: DictConfig) -> dict[Any, Any]:
    """Return what identifies a run: its config as it is written, without how to start it."""
    return {key: value for key, value in unresolved(config).items() if key not in OF_THE_COMMAND}


def _recorded_run(run: Path) -> dict[Any, Any] | None:
    config = read_values(run, CONFIG)
    return config and rename_targets(
        {key: config[key] for key in config if key not in OF_THE_COMMAND}
    )


def read_values(folder: Path, name: str) -> dict[Any, Any] | None:
    """Return the unresolved values of a YAML file of a run; None if it cannot be read."""
    try:
        content = read_yaml(folder, name)
    except InputError:
        return None
    return unresolved(content) if isinstance(content, DictConfig) else None


def newest_first(folder: Path) -> list[Path]:
    """Return the folders in a folder, the newest first by name."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir()), reverse=True)
