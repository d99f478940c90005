"""Checkpoints that a killed process leaves whole, and the choice of the one to go on from."""

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
