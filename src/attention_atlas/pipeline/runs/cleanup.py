"""Remove the files that Hydra wrote for a run that could not start."""

import shutil
from pathlib import Path

from attention_atlas.run_folder import HYDRA, LOCK, METRICS

STARTUP_FILES = {
    HYDRA,
    LOCK,
    "tokenizer.json",
    "token_pairs.npy",
    "images.json",
    METRICS,
    "hparams.yaml",
    "multirun.yaml",
}
"""The files in a run folder, beside a log, before any work is done in it."""


class FolderSnapshot:
    """The folders that existed before a run.

    Args:
        folder: Where the run, or its sweep, is going to write. The last part of the name may still
            change, as it does with the time.
    """

    def __init__(self, folder: Path) -> None:
        self._base = folder.absolute().parent
        self._siblings = set(self._base.iterdir()) if self._base.is_dir() else set()
        self._parents = {path for path in folder.absolute().parents if path.exists()}

    def restore(self, folder: Path) -> None:
        """Remove a run folder, and the folders made for it, if they hold only files of a start.

        Folders that existed before, and folders with any other file, stay.
        """
        folder = folder.absolute()
        if not folder.is_relative_to(self._base) or folder == self._base:
            return
        if self._base / folder.relative_to(self._base).parts[0] in self._siblings:
            return
        for path in (folder, *folder.parents):
            if path in self._parents or not _holds_only_a_start(path):
                return
            shutil.rmtree(path)


def _holds_only_a_start(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return all(path.name in STARTUP_FILES or path.suffix == ".log" for path in folder.iterdir())
