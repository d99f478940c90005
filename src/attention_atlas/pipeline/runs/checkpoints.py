"""Write checkpoints atomically, and choose the one to resume from."""

import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from attention_atlas.errors import InputError
from attention_atlas.run_folder import BEFORE_LAST, CHECKPOINTS, LAST

log = logging.getLogger(__name__)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint, which is a zip archive with checksums, can be read completely."""
    if not checkpoint.is_file():  # opening a pipe would wait
        return False
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error):
        return False


def latest_checkpoint(run: Path) -> Path | None:
    """Return the checkpoint to resume a run from; a damaged one is skipped with a warning."""
    for name in (LAST, BEFORE_LAST):
        checkpoint = run / CHECKPOINTS / name
        if not checkpoint.is_file():
            continue
        if is_whole(checkpoint):
            return checkpoint
        log.warning("%s is damaged; the checkpoint before it is used.", checkpoint)
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU.

    Raises:
        InputError: The file is not a checkpoint.
    """
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises any error for a forged file
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
    """Check that an archive is not compressed, as torch writes it.

    Raises:
        ValueError: It is not a regular file, or would take more memory than its size on disk.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait
        raise ValueError("it is not a regular file")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size:
            raise ValueError(f"it claims {size} bytes, more than it has")
