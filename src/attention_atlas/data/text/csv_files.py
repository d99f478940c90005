"""Your own texts: one CSV or TSV file, or one per split."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from attention_atlas.data.file_types import is_table
from attention_atlas.data.groups import GROUP
from attention_atlas.data.listing import SPLIT_NAMES, split_of, visible_files
from attention_atlas.data.splits import FRACTIONS, divide
from attention_atlas.data.tables import Table, read_table
from attention_atlas.data.text.corpora import Splits, TextCorpus, content_ids, normalise_text
from attention_atlas.data.text.labels import check_labels
from attention_atlas.data.text.options import TextOptions
from attention_atlas.errors import InputError, first_names

SPLITS = ("train", "val", "test")


def load_csv(options: TextOptions, tested_classes: list[str] | None = None) -> TextCorpus:
    """Read texts and labels from columns named by the user.

    One file is split 80 : 10 : 10, stratified by label. With a file per split, a missing `val` is
    10 % of `train`.

    Args:
        options: Path and columns.
        tested_classes: Classes of a model that is tested on all rows of one file; None divides it.

    Raises:
        InputError: A file, a column, a text, a label or a group cannot be used; it names file and
            line.
    """
    files, not_read = csv_files(options)
    tables = {
        split: read_table(path, options.quoted, encoding=options.encoding)
        for split, path in files.items()
    }
    texts: list[str] = []
    names: list[str] = []
    groups: list[str] = []
    given: list[str | None] = []
    for split, table in tables.items():
        given += [None if split == "all" else split] * len(table.rows)
        texts += table.column(options.text_column, "data.text_column")
        names += [name.strip() for name in table.column(options.label_column, "data.label_column")]
        if options.group is not None:
            groups += [name.strip() for name in table.column(options.group, "data.group")]
    first = next(iter(tables.values())).path
    check_labels(names, texts, f"{first}, column '{options.label_column}'")
    is_tested = tested_classes is not None and "all" in tables
    classes = (tested_classes or []) if is_tested else _trained_classes(names, tables)
    _check_known(names, classes, tables)
    positions = {name: index for index, name in enumerate(classes)}
    labels = [positions[name] for name in names]
    ids = _ids(options, tables) or content_ids(["csv"] * len(texts), texts, labels)
    contents = [normalise_text(text) for text in texts]
    splits = {"test": list(range(len(texts)))}
    if not is_tested:
        strata = [(label,) for label in labels]
        splits = divide(given, ids, strata, FRACTIONS, options.seed, contents, groups or None)
        _check_splits(splits, labels, classes, first)
    named_groups = {GROUP: groups} if groups else {}
    return TextCorpus(texts, labels, classes, ids, splits, named_groups, not_read, contents)


def check_csv(options: TextOptions, is_divided: bool = True) -> None:
    """Check all rows, and that they can be divided; see `load_csv`."""
    if is_divided:
        load_csv(options)
        return
    for path in csv_files(options)[0].values():
        table = read_table(path, options.quoted, encoding=options.encoding)
        for column in (options.text_column, options.label_column, options.group):
            if column is not None:
                table.column(column)


def csv_files(options: TextOptions) -> tuple[dict[str, Path], list[str]]:
    """Return the file of each split, or that of `all`, and the names of others beside them.

    Raises:
        InputError: Neither `path` nor `splits` names usable files.
    """
    not_read: list[str] = []
    if options.splits:
        files = {split: Path(path) for split, path in options.splits.items()}
        where = "data.splits"
    elif options.path is None:
        raise InputError(
            "data=csv needs data.path=<a CSV or TSV file, or a folder with train.csv, val.csv and "
            "test.csv>, or data.splits={train: ..., val: ..., test: ...}."
        )
    elif Path(options.path).is_dir():
        files, not_read = _files_of_folder(Path(options.path))
        where = options.path
    else:
        return {"all": Path(options.path)}, []
    unknown = sorted(set(files) - set(SPLITS))
    missing = sorted({"train", "test"} - set(files))
    if unknown or missing:
        problem = f"an unknown split '{unknown[0]}'" if unknown else f"no file for '{missing[0]}'"
        raise InputError(
            f"{where} has {problem}; expected a CSV or TSV file for train and test, and if you "
            "like one for val. A folder of text files per class is not read."
        )
    return {split: files[split] for split in SPLITS if split in files}, not_read


def _files_of_folder(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the table of each split in a folder, and the names of all other files.

    Where several are named after a split, the one with its plain name is taken.
    """
    found = visible_files(folder)
    if {path.parent for path in found} == {inner := folder / folder.absolute().name}:
        folder = inner  # of an unpacked archive
    files: dict[str, Path] = {}
    for split in SPLITS:
        named = [
            path
            for path in found
            if path.parent == folder and is_table(path)
            if split_of(_stem(path)) == split
        ]
        plain = [path for path in named if _stem(path).lower() in SPLIT_NAMES]
        chosen = plain or named
        if len(chosen) > 1:
            raise InputError(
                f"{chosen[0]} and {chosen[1].name} are both named after the split {split}; "
                "leave one of them there."
            )
        if chosen:
            files[split] = chosen[0]
    others = [path for path in found if path not in files.values()]
    return files, [path.relative_to(folder).as_posix() for path in others]


def _stem(path: Path) -> str:
    """Return the name of a table without `.csv` or `.csv.gz`."""
    return re.sub(r"\.[ct]sv(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _trained_classes(names: list[str], tables: Mapping[str, Table]) -> list[str]:
    """Return the labels in training, numbers in numeric order."""
    table = next(iter(tables.values()))  # that of train, or the only one
    classes = sorted(set(names[: len(table.rows)]), key=_numbers_first)
    if len(classes) < 2:
        raise InputError(
            f"{table.path} has one class only, '{classes[0]}'; a classifier needs at least two."
        )
    return classes


def _check_known(names: list[str], classes: list[str], tables: Mapping[str, Table]) -> None:
    known = set(classes)
    rows = [(table.path, line) for table in tables.values() for line in table.lines]
    for name, (path, line) in zip(names, rows, strict=True):
        if name not in known:
            raise InputError(
                f"{path}, line {line}: the label '{name}' does not occur in training; known are "
                f"{first_names(classes)}."
            )


def _numbers_first(name: str) -> tuple[float, str]:
    """Return a key that sorts finite numbers by their value, and then all other names."""
    try:
        number = float(name)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf), name


def _ids(options: TextOptions, tables: Mapping[str, Table]) -> list[str]:
    """Return the ids in `id_column`, unique over all files; empty without such a column."""
    if options.id_column is None:
        return []
    seen: set[str] = set()
    ids = []
    for table in tables.values():
        cells = table.column(options.id_column, "data.id_column")
        for cell, line in zip(cells, table.lines, strict=True):
            if cell in seen:
                raise InputError(
                    f"{table.path}, line {line}: the id '{cell}' occurs a second time; "
                    f"ids in the column '{options.id_column}' must be unique."
                )
            seen.add(cell)
            ids.append(cell)
    return ids


def _check_splits(splits: Splits, labels: list[int], classes: list[str], path: Path) -> None:
    """Check that no split is empty, and that training has each class."""
    empty = [split for split, indexes in splits.items() if not indexes]
    trained = {labels[index] for index in splits["train"]}
    if empty or len(trained) < len(classes):
        raise InputError(
            f"{path} has too few rows to be split; each class needs about ten. "
            "Add rows, or give one file per split."
        )
