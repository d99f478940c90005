"""What the same command has begun before, and can go on with. Never imports torch."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from attention_atlas.config.allowlist import rename_targets
from attention_atlas.config.messages import unresolved
from attention_atlas.errors import InputError
from attention_atlas.pipeline.runs.lock import _is_free
from attention_atlas.run_folder import CONFIG, is_finished, is_run, read_yaml

OF_THE_COMMAND = ("resume", "sweep", "run_folder")
"""Keys that tell how to begin a run, not what it is."""


def begun_run(folder: Path, config: DictConfig) -> Path | None:
    """The run that this config goes on with.

    Args:
        folder: Where a new run would be written. If it is there, it must hold this very run;
            else the newest one beside it that is unfinished, and that no process writes.
        config: As composed.

    Raises:
        InputError: The folder is there and holds another run.
    """
    wanted = run_record(config)
    if is_run(folder):
        if _recorded_run(folder) == wanted:
            return folder
        raise InputError(
            f"{folder} holds a run of another config: take another folder, or the command that "
            "began it."
        )
    return next(
        (
            run
            for run in _newest_first(folder.parent)
            if not is_finished(run) and _recorded_run(run) == wanted and _is_free(run)
        ),
        None,
    )


def run_record(config: DictConfig) -> dict[Any, Any]:
    """What a run is known by: its config as it is written, but for how to begin it."""
    return {key: value for key, value in unresolved(config).items() if key not in OF_THE_COMMAND}


def _recorded_run(run: Path) -> dict[Any, Any] | None:
    config = _read(run, CONFIG)
    return config and rename_targets(
        {key: config[key] for key in config if key not in OF_THE_COMMAND}
    )


def _read(folder: Path, name: str) -> dict[Any, Any] | None:
    try:
        content = read_yaml(folder, name)
    except InputError:
        return None
    return unresolved(content) if isinstance(content, DictConfig) else None


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir()), reverse=True)
