"""Checkpoints that a killed process leaves whole, and the choice of the one to go on from."""

import logging
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from attention_atlas.config.allowlist import RENAMED
from attention_atlas.errors import InputError
from attention_atlas.run_folder import BEFORE_LAST, CHECKPOINTS, LAST

log = logging.getLogger(__name__)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint as a draft, and renames it once it is on the disk.

    The last checkpoint is renamed to `before-last.ckpt` when a new one replaces it, because a disk
    may lose data that it has confirmed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; at any moment the old one or the new one exists."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        if path.name == LAST and path.is_file():
            path.replace(path.with_name(BEFORE_LAST))
        draft.replace(path)

    def load_checkpoint(self, path: str | Path, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint, of an earlier version too."""
        return rename_callbacks(super().load_checkpoint(path, *args, **options))


def rename_callbacks(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Give the states of callbacks in a checkpoint the current names of their classes."""
    names = {old.rpartition(".")[2]: new.rpartition(".")[2] for old, new in RENAMED.items()}
    states = checkpoint.get("callbacks", {})
    return checkpoint | {"callbacks": {names.get(key, key): states[key] for key in states}}


def is_whole(checkpoint: Path) -> bool:
    """Whether all of a checkpoint, which is a zip archive with checksums, can be read."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error):
        return False


def latest_checkpoint(run: Path) -> Path | None:
    """The checkpoint that a run goes on from; one that is damaged is passed over with a warning."""
    for name in (LAST, BEFORE_LAST):
        checkpoint = run / CHECKPOINTS / name
        if not checkpoint.is_file():
            continue
        if is_whole(checkpoint):
            return checkpoint
        log.warning("%s is damaged; the checkpoint before it is used.", checkpoint)
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        InputError: The file is none.
    """
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that was made up raises whatever it makes torch stumble on
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"{path} cannot be read as a checkpoint: {reason}.") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"{path} is not a checkpoint of a training run: it holds no state_dict.")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise InputError(
            f"{path} is not a checkpoint of a training run: its state_dict holds no weights."
        )
    return content


def _check_archive(path: Path) -> None:
    """A checkpoint holds as many bytes as it takes: torch packs nothing.

    Raises:
        ValueError: It would take more memory than that.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size:
            raise ValueError(f"it claims {size} bytes, more than it has")
