"""Your own texts: one CSV or TSV file, or one per split."""

from collections.abc import Mapping
from pathlib import Path

from attention_atlas.data.tables import Table, is_table, read_table
from attention_atlas.data.text.corpora import (
    Splits,
    TextCorpus,
    content_ids,
    split_texts,
    validation_from_training,
)
from attention_atlas.data.text.labels import check_labels
from attention_atlas.data.text.options import TextOptions
from attention_atlas.errors import InputError

FILE_NAMES = {
    "train": ["train"],
    "val": ["val", "valid", "validation", "dev"],
    "test": ["test"],
}


def load_csv(options: TextOptions) -> TextCorpus:
    """Read texts and labels from columns named by the user.

    One file is split 80 : 10 : 10, stratified by label. With a file per split, a missing `val` is
    10 % of `train`.

    Raises:
        InputError: A file, a column, a text or a label cannot be used; it names file and line.
    """
    tables = {split: read_table(path, options.quoted) for split, path in csv_files(options).items()}
    texts: list[str] = []
    names: list[str] = []
    splits: Splits = {}
    for split, table in tables.items():
        splits[split] = list(range(len(texts), len(texts) + len(table.rows)))
        texts += table.column(options.text_column, "data.text_column")
        names += [name.strip() for name in table.column(options.label_column, "data.label_column")]
    first = next(iter(tables.values())).path
    check_labels(names, texts, f"{first}, column '{options.label_column}'")
    classes = _classes(names, splits, tables)
    labels = [classes.index(name) for name in names]
    ids = _ids(options, tables) or content_ids(["csv"] * len(texts), texts, labels)
    if "all" in splits:
        splits = split_texts(ids, texts, [(label,) for label in labels], options.seed)
    elif "val" not in splits:
        splits |= validation_from_training(splits["train"], ids, texts, labels, options.seed)
    _check_splits(splits, labels, classes, first)
    return TextCorpus(texts, labels, classes, ids, splits)


def csv_files(options: TextOptions) -> dict[str, Path]:
    """Return the file of each split, or that of `all`.

    Raises:
        InputError: Neither `path` nor `splits` names usable files.
    """
    if options.splits:
        files = {split: Path(path) for split, path in options.splits.items()}
        where = "data.splits"
    elif options.path is None:
        raise InputError(
            "data=csv needs data.path=<a CSV or TSV file, or a folder with train.csv, val.csv and "
            "test.csv>, or data.splits={train: ..., val: ..., test: ...}."
        )
    elif Path(options.path).is_dir():
        files = _files_of_folder(Path(options.path))
        where = options.path
    else:
        return {"all": Path(options.path)}
    unknown = sorted(set(files) - set(FILE_NAMES))
    missing = sorted({"train", "test"} - set(files))
    if unknown or missing:
        problem = f"an unknown split '{unknown[0]}'" if unknown else f"no file for '{missing[0]}'"
        raise InputError(
            f"{where} has {problem}; expected a CSV or TSV file for train and test, and if you "
            "like one for val."
        )
    return {split: files[split] for split in FILE_NAMES if split in files}


def _files_of_folder(folder: Path) -> dict[str, Path]:
    """Return the table of each split, by its name in any case.

    Raises:
        InputError: There are two for one split.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.lower().partition(".")[0]
        split = next((name for name, stems in FILE_NAMES.items() if stem in stems), None)
        if split is None or not is_table(path) or not path.is_file():
            continue
        if split in files:
            raise InputError(
                f"{folder} holds two tables for {split}, {files[split].name} and {path.name}; "
                "remove one, or choose by data.splits={train: ..., val: ..., test: ...}."
            )
        files[split] = path
    return files


def _classes(names: list[str], splits: Splits, tables: Mapping[str, Table]) -> list[str]:
    """Return the labels in training, numbers in numeric order."""
    first = next(iter(splits))
    classes = sorted({names[index] for index in splits[first]}, key=_numbers_first)
    if len(classes) < 2:
        raise InputError(
            f"{tables[first].path} has one class only, '{classes[0]}'; "
            "a classifier needs at least two."
        )
    known = set(classes)
    for split, indexes in splits.items():
        for row, index in enumerate(indexes):
            if names[index] not in known:
                raise InputError(
                    f"{tables[split].path}, line {tables[split].lines[row]}: the label "
                    f"'{names[index]}' does not occur in training; known are "
                    f"{', '.join(classes[:10])}."
                )
    return classes


def _numbers_first(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name


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
