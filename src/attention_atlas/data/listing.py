"""One listing of your own files, for training, evaluation, prediction and recording.

The class of a file is the first folder below the root, or below the folder of its split. A folder
that holds only another one of its name, as unpacked archives do, counts as that one. Hidden files,
and what operating systems and tools leave about, are left out; what is not of the modality is
counted. Needs no torch.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attention_atlas.data.cache import digest_of_file
from attention_atlas.data.file_types import SUFFIXES, has_modality, utf8_name
from attention_atlas.errors import InputError

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LEFT_BY_TOOLS = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("__macosx", "icon\r", "@eadir", "#recycle", "lost+found", "__pycache__"),
        "_background_noise_",
    }
)
"""Names, in lower case, of what Windows, macOS, network drives and tools leave about, and of the
noise that comes with Speech Commands and is not a class."""

Identity = tuple[int, int]
"""Device and number of a file or folder, the same by whatever link it is reached."""


@dataclass(frozen=True)
class LabelledFile:
    """A file in the folder of its class.

    Attributes:
        path: The file.
        sample_id: Its path relative to the whole folder, with forward slashes.
        label: Name of its class.
        split: `train`, `val` or `test`; None in a folder without splits.
    """

    path: Path
    sample_id: str
    label: str
    split: str | None


@dataclass(frozen=True)
class Listing:
    """The files of a folder, sorted by their ids, and the names of those that are not read."""

    files: list[LabelledFile]
    not_read: list[str] = field(default_factory=list)


def split_of(name: str) -> str | None:
    """Return the split that a folder or file is named after: `Train`, `seg_train`, `test-images`.

    The name of the split is its first or last part; None where it is neither, or both differ.
    """
    parts = re.split(r"[-_. ]", name.lower())
    found = {SPLIT_NAMES[part] for part in (parts[0], parts[-1]) if part in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def list_files(root: Path, modality: str, min_classes: int = 2) -> Listing:
    """List the files of `root/<class>/` or `root/<split>/<class>/`, strictly.

    Args:
        root: The folder, `data.path`.
        modality: `image` or `audio`.
        min_classes: Fewest classes to train on.

    Raises:
        InputError: The folder is missing, a file stands in no class folder, a class is empty, or
            there are too few.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise InputError(f"data.path={root} {what}; give a folder with one folder per class.")
    tree = _Tree(root)
    splits = tree.split_folders()
    if splits and "train" not in splits.values():
        raise InputError(f"data.path={root} has no folder named train beside its other splits.")
    files, not_read = tree.of_modality(modality)
    for parts, path in files:
        if len(parts) < 2 + bool(splits):
            raise InputError(
                f"{path} stands beside the class folders; move it into one of them or remove it."
            )
    listed = tree.labelled(files, splits)
    _check_classes(tree, listed, splits, modality, min_classes)
    return Listing(listed, not_read)


def list_inputs(root: Path, modality: str) -> Listing:
    """List the files of a folder of any layout, with the classes that `list_files` gives them.

    A file that stands in no class folder has the name of the root as its class.

    Raises:
        InputError: A folder or link cannot be followed, or there is no file of the modality.
    """
    tree = _Tree(root)
    splits = tree.split_folders()
    files, not_read = tree.of_modality(modality)
    if not files:
        known = ", ".join(sorted(SUFFIXES[modality]))
        raise InputError(f"{root} holds no {modality} file; known are {known}.")
    return Listing(tree.labelled(files, splits), not_read)


def visible_files(root: Path) -> list[Path]:
    """List all files below a folder but hidden ones and what tools leave about, sorted.

    Raises:
        InputError: A folder or link cannot be followed.
    """
    return [path for _, path in _Tree(root).files]


def modality_of_data(path: Path) -> str:
    """Return the modality of a file, or of most files of a folder: `text`, `image` or `audio`.

    Raises:
        InputError: The path does not exist, or no file has a known suffix.
    """
    if not path.exists():
        raise InputError(f"--data {path} does not exist; give a CSV file, or a folder of files.")
    files = [path] if path.is_file() else visible_files(path)
    counts = {
        modality: sum(has_modality(file, modality) for file in files) for modality in SUFFIXES
    }
    if any(counts.values()):
        return max(counts, key=counts.__getitem__)
    raise InputError(f"--data {path} holds no text (.csv, .tsv, .txt), image or audio file.")


def file_contents(paths: Sequence[Path]) -> list[str]:
    """Return a key per file, the same for files of the same content.

    Only files of the same size are read.

    Raises:
        InputError: A file cannot be read.
    """
    sizes = [path.stat().st_size for path in paths]
    frequency = Counter(sizes)
    return [
        digest_of_file(path) if frequency[size] > 1 else str(size)
        for path, size in zip(paths, sizes, strict=True)
    ]


def describe_not_read(names: Sequence[str]) -> str:
    """Say how many files were not read, with one of them as an example."""
    if len(names) == 1:
        return f"1 file was not read: {names[0]}"
    return f"{len(names):,} files were not read, such as {names[0]}"


class _Tree:
    """The files and folders below a root, each with the parts of its path there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[tuple[tuple[str, ...], Path]] = []
        self.folders: dict[tuple[str, ...], Path] = {}
        self.has_links = False
        self._seen: set[tuple[Identity, tuple[str, ...]]] = set()
        self._walk(root, (), (), root)
        self.files.sort(key=lambda file: "/".join(file[0]))
        self.folders = dict(sorted(self.folders.items()))
        self.root = self.folders.pop(())

    def _walk(
        self, folder: Path, parts: tuple[str, ...], above: tuple[Identity, ...], link: Path
    ) -> None:
        """Walk through a folder, reached by the last `link`, in the folders `above`."""
        entries = _scan(folder)
        if _is_doubled(folder, entries):
            self._walk(folder / entries[0].name, parts, (*above, _identity(folder)), link)
            return
        self.folders[parts] = folder
        for entry in entries:
            path, names = folder / entry.name, (*parts, entry.name)
            if entry.is_symlink() and not path.exists():
                raise InputError(f"{path} is a link that leads nowhere; mend or remove it.")
            if not entry.is_dir():
                self.files.append((names, path))
                continue
            inside, followed = (*above, _identity(folder)), path if entry.is_symlink() else link
            if _identity(path) in inside:
                raise InputError(f"{followed} is a link to a folder that it lies in; remove it.")
            self.has_links |= entry.is_symlink()
            if (_identity(path), names[:2]) not in self._seen:  # a net of links ends
                self._seen.add((_identity(path), names[:2]))
                self._walk(path, names, inside, followed)

    def split_folders(self) -> dict[str, str]:
        """Return the split of each folder in the root; empty if these are classes.

        Raises:
            InputError: Some of them are splits and others are not.
        """
        top = [parts[0] for parts in self.folders if len(parts) == 1]
        nested = {parts[0] for parts in self.folders if len(parts) == 2}
        splits = {name: split_of(name) for name in top}
        others = [name for name in top if splits[name] is None]
        if others and any(name.lower() in SPLIT_NAMES for name in nested):
            raise InputError(
                f"{self.root / others[0]} stands beside the splits; data.path may hold one folder "
                "per class, or the folders train, val and test."
            )
        found = {name: split for name, split in splits.items() if split is not None}
        train = [name for name in top if found.get(name) == "train"]
        is_divided = not others and any(name in nested for name in train or top)
        return found if is_divided else {}

    def of_modality(self, modality: str) -> tuple[list[tuple[tuple[str, ...], Path]], list[str]]:
        """Return the files of a modality, and the names of all others."""
        files, not_read = [], []
        for parts, path in self.files:
            if has_modality(path, modality) and path.is_file():
                files.append((parts, path))
            else:
                not_read.append("/".join(parts))
        return files, not_read

    def labelled(
        self, files: Iterable[tuple[tuple[str, ...], Path]], splits: dict[str, str]
    ) -> list[LabelledFile]:
        """Return files with class and split; one that links lead to twice in a class is one."""
        listed = [_labelled(self.root, parts, path, splits) for parts, path in files]
        if not self.has_links:
            return listed
        found: dict[object, LabelledFile] = {}
        for file in listed:
            found.setdefault((file.split, file.label, _identity(file.path)), file)
        return list(found.values())


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is visible in a folder, links behind the others."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not _is_left_out(entry.name)]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.") from error
    return sorted(found, key=lambda entry: (entry.is_symlink(), entry.name))


def _is_doubled(folder: Path, entries: Sequence[os.DirEntry[str]]) -> bool:
    """Whether a folder of folders, of the same name, is all that a folder holds."""
    if [each.name for each in entries] != [folder.absolute().name]:
        return False
    is_folder = entries[0].is_dir(follow_symlinks=False)
    return is_folder and any(each.is_dir() for each in _scan(folder / entries[0].name))


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFT_BY_TOOLS


def _identity(path: Path) -> Identity:
    status = path.stat()
    return status.st_dev, status.st_ino


def _labelled(
    root: Path, parts: tuple[str, ...], path: Path, splits: dict[str, str]
) -> LabelledFile:
    split = splits.get(parts[0])
    below = parts if split is None else parts[1:]
    label = below[0] if len(below) > 1 else root.resolve().name
    return LabelledFile(path, utf8_name(path, root), label, split)


def _check_classes(
    tree: _Tree,
    files: Iterable[LabelledFile],
    splits: dict[str, str],
    modality: str,
    min_classes: int,
) -> None:
    """Check that each class folder has a file, and each class enough folders in training."""
    found: dict[str | None, dict[str, LabelledFile]] = {}
    for file in files:
        found.setdefault(file.split, {}).setdefault(file.label, file)
    depth = 1 + bool(splits)
    folders = [parts for parts in tree.folders if len(parts) == depth]
    held = {parts[:depth] for parts, path in tree.files if has_modality(path, modality)}
    for parts in folders:
        if parts not in held:
            raise InputError(
                f"The class folder {tree.folders[parts]} holds no {modality} file; "
                "add some or remove it."
            )
    split = "train" if splits else None
    trained = found.get(split, {})
    if len(trained) < min_classes:
        only = f"one class only ({next(iter(trained))})" if trained else "no class folder"
        where = tree.root / next((name for name in splits if splits[name] == "train"), "")
        raise InputError(f"{where} holds {only}; it needs two folders or more, one per class.")
    for of_split in found.values():
        for label, file in of_split.items():
            if label not in trained:
                raise InputError(f"{file.path} is of class {label!r}, which train lacks.")
