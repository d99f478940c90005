"""Which files a folder of audio holds, by class and split. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path

from attention_atlas.data.file_types import has_modality
from attention_atlas.errors import InputError

_SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True)
class AudioFile:
    """One file of a folder of audio.

    Attributes:
        path: Where it lies.
        name: Its path within the folder, with forward slashes.
        label: The class's folder.
        split: `train`, `val` or `test`; None where the folder is not split.
    """

    path: Path
    name: str
    label: str
    split: str | None


def list_audio(root: Path) -> list[AudioFile]:
    """The files of `root/<class>/`, or of `root/<split>/<class>/` where there is a `train`.

    Raises:
        InputError: The folder is missing, a class is empty, there is only one class, or a folder
            that is split has no `test`.
    """
    if not root.is_dir():
        raise InputError(f"data.path={root} is no folder; give one that holds a folder per class.")
    folders = _folders(root)
    if not any(folder.name == "train" for folder in folders):
        return _with_classes(root, _list_classes(root, root, None))
    splits = [(folder, _SPLITS[folder.name]) for folder in folders if folder.name in _SPLITS]
    if "test" not in {split for _, split in splits}:
        raise InputError(f"data.path={root} has a folder train but no folder test beside it.")
    files = [file for folder, split in splits for file in _list_classes(root, folder, split)]
    trained = {file.label for file in files if file.split == "train"}
    for file in files:
        if file.label not in trained:
            raise InputError(f"{file.path} is of class {file.label}, which {root}/train lacks.")
    return _with_classes(root, files)


def _folders(root: Path) -> list[Path]:
    return sorted(
        entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _list_classes(root: Path, parent: Path, split: str | None) -> list[AudioFile]:
    files = []
    for folder in _folders(parent):
        found = sorted(path for path in folder.rglob("*") if has_modality(path, "audio"))
        if not found:
            raise InputError(
                f"{folder} holds no audio file; remove it or fill it with WAV, FLAC, OGG or MP3."
            )
        files += [
            AudioFile(path, path.relative_to(root).as_posix(), folder.name, split) for path in found
        ]
    return files


def _with_classes(root: Path, files: list[AudioFile]) -> list[AudioFile]:
    classes = {file.label for file in files}
    if len(classes) < 2:
        found = f"only one, {classes.pop()}" if classes else "none"
        raise InputError(
            f"data.path={root} should hold a folder per class, at least two; there is {found}."
        )
    return files
