"""A folder of your own clips: `<class>/<file>` or `<split>/<class>/<file>`. Needs no torch."""

from pathlib import Path

from attention_atlas.data.file_types import SPLIT_FOLDERS, LabelledFile, files_below, utf8_name
from attention_atlas.data.splits import FRACTIONS, stratified_split
from attention_atlas.errors import InputError


def list_audio(root: Path) -> list[LabelledFile]:
    """List the files of `root/<class>/`, or of `root/<split>/<class>/` if there is a `train`.

    Raises:
        InputError: The folder is missing, a class is empty, there is only one class, or a folder
            with splits has no `test`.
    """
    if not root.is_dir():
        raise InputError(
            f"data.path={root} is not a folder; give one that holds a folder per class."
        )
    folders = _folders(root)
    if not any(folder.name == "train" for folder in folders):
        files = _list_classes(root, root, None)
    else:
        files = _list_splits(root, folders)
    classes = {file.label for file in files}
    if len(classes) < 2:
        found = f"only one, {classes.pop()}" if classes else "none"
        raise InputError(
            f"data.path={root} should hold a folder per class, at least two; there is {found}."
        )
    return files


def split_audio(root: Path, seed: int) -> dict[str, list[LabelledFile]]:
    """List the files of each split.

    Without folders `train`, `val` and `test`, 10 % of each class are held out for validation and
    test each; if only `val` is missing, it is 10 % of `train`.

    Raises:
        InputError: A folder cannot be used, or holds too few files.
    """
    files = list_audio(root)
    splits = {name: [file for file in files if file.split == name] for name in FRACTIONS}
    if not splits["train"]:
        splits = _divide(files, FRACTIONS, seed)
    elif not splits["val"]:
        splits |= _divide(splits["train"], {"train": 0.9, "val": 0.1}, seed)
    for name, part in splits.items():
        if not part:
            raise InputError(
                f"data.path={root} has too few files to hold some out for {name}; "
                "take at least ten per class, or folders train, val and test."
            )
    return splits


def _folders(root: Path) -> list[Path]:
    return sorted(
        entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _list_splits(root: Path, folders: list[Path]) -> list[LabelledFile]:
    splits = {
        folder: SPLIT_FOLDERS[folder.name] for folder in folders if folder.name in SPLIT_FOLDERS
    }
    if "test" not in splits.values():
        raise InputError(f"data.path={root} has a folder train but no folder test beside it.")
    files = [
        file for folder, split in splits.items() for file in _list_classes(root, folder, split)
    ]
    trained = {file.label for file in files if file.split == "train"}
    for file in files:
        if file.label not in trained:
            raise InputError(f"{file.path} is of class {file.label}, which {root}/train lacks.")
    return files


def _list_classes(root: Path, parent: Path, split: str | None) -> list[LabelledFile]:
    files = []
    for folder in _folders(parent):
        found = files_below(folder, "audio")
        if not found:
            raise InputError(
                f"{folder} holds no audio file; remove it or fill it with WAV, FLAC, OGG or MP3."
            )
        files += [LabelledFile(path, utf8_name(path, root), folder.name, split) for path in found]
    return files


def _divide(
    files: list[LabelledFile], fractions: dict[str, float], seed: int
) -> dict[str, list[LabelledFile]]:
    names = [file.sample_id for file in files]
    parts = stratified_split(names, [file.label for file in files], fractions, seed)
    return {name: [files[index] for index in indexes] for name, indexes in parts.items()}
