"""SST-2 and IMDb in their official splits: from the Hugging Face Hub, or from a folder."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from attention_atlas.data.tables import read_table
from attention_atlas.data.text.corpora import (
    SENTIMENTS,
    Splits,
    TextCorpus,
    content_ids,
    validation_from_training,
)
from attention_atlas.data.text.options import TextOptions
from attention_atlas.data.text_files import clean_text
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class HubCorpus:
    """The repository of a corpus on the Hugging Face Hub, and its text column."""

    repository: str
    text_column: str


HUB_CORPORA = {
    "sst2": HubCorpus("stanfordnlp/sst2", "sentence"),
    "imdb": HubCorpus("stanfordnlp/imdb", "text"),
}
SPLIT_NAMES = {"train": "train", "validation": "val", "dev": "val", "test": "test"}

Parts = dict[str, tuple[list[str], list[int]]]


def load_hub_texts(options: TextOptions) -> TextCorpus:
    """Read the official splits.

    If the labels of `test` are withheld, as in GLUE, `val` replaces it. A missing `val` is 10 % of
    `train`.

    Raises:
        InputError: The data cannot be read, or the library that reads it is missing.
    """
    corpus = HUB_CORPORA[options.name]
    check_hub_texts(options)
    if options.path is not None and _is_tsv_folder(Path(options.path)):
        parts = _read_tsv(Path(options.path), corpus)
    else:
        parts = _read_datasets(options, corpus)
    if "test" not in parts and "val" in parts:
        parts["test"] = parts.pop("val")
    if "train" not in parts or "test" not in parts:
        raise InputError(
            f"{options.path or corpus.repository} holds labels for {sorted(parts)} only; expected "
            "them for train, and for test or validation."
        )
    return _corpus(options, parts)


def check_hub_texts(options: TextOptions) -> None:
    """Check that the data can be read, without reading it.

    Raises:
        InputError: The folder does not exist, or the library `datasets` is missing.
    """
    if options.path is not None and not Path(options.path).is_dir():
        raise InputError(
            f"data.path={options.path} is not a folder; expected one with train.tsv, dev.tsv and "
            "test.tsv, or with the Parquet files of the Hugging Face Hub."
        )
    if options.path is not None and _is_tsv_folder(Path(options.path)):
        return
    if importlib.util.find_spec("datasets") is None:
        raise InputError(
            f'data={options.name} needs a library: pip install "attention-atlas[datasets]". '
            "Without it, set data.path to a folder with train.tsv, dev.tsv and test.tsv."
        )


def _is_tsv_folder(folder: Path) -> bool:
    return (folder / "train.tsv").is_file()


def _read_tsv(folder: Path, corpus: HubCorpus) -> Parts:
    parts: Parts = {}
    for name, split in SPLIT_NAMES.items():
        path = folder / f"{name}.tsv"
        if not path.is_file():
            continue
        table = read_table(path, quoted=False)
        if "label" not in table.columns and split == "test":
            continue
        cells = zip(table.column("label"), table.lines, strict=True)
        labels = [_sentiment(cell, path, line) for cell, line in cells]
        parts[split] = table.column(corpus.text_column), labels
    return parts


def _sentiment(cell: str, path: Path, line: int) -> int:
    if cell.strip() not in {"0", "1"}:
        raise InputError(f"{path}, line {line}: the label is '{cell}', expected 0 or 1.")
    return int(cell)


def _read_datasets(options: TextOptions, corpus: HubCorpus) -> Parts:
    from datasets import load_dataset  # slow to import

    where = options.path or corpus.repository
    try:
        loaded: Mapping[str, Mapping[str, list[object]]] = (
            load_dataset(where)
            if options.path is None
            else load_dataset("parquet", data_files=_parquet_files(Path(options.path)))
        )
    except Exception as error:  # the library raises many kinds: offline, not found, bad files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"data={options.name} could not be loaded from {where}: {reason.rstrip('.')}. Check "
            "the connection, or set data.path to a folder that holds its files."
        ) from None
    parts: Parts = {}
    for name, split in SPLIT_NAMES.items():
        if name not in loaded:
            continue
        columns = loaded[name]
        texts = [str(text) for text in columns[corpus.text_column]]
        labels = [int(str(label)) for label in columns["label"]]
        if min(labels, default=-1) >= 0:  # withheld labels are -1
            parts[split] = texts, labels
    return parts


def _parquet_files(folder: Path) -> dict[str, list[str]]:
    """Return the Parquet files of each split; the library would also open pickles.

    Raises:
        FileNotFoundError: There are none.
    """
    files = {
        name: [escape(str(file)) for file in sorted(folder.rglob(f"{name}*.parquet"))]
        for name in SPLIT_NAMES
    }
    if not any(files.values()):
        raise FileNotFoundError("it holds no Parquet file of a split")
    return {name: found for name, found in files.items() if found}


def _corpus(options: TextOptions, parts: Parts) -> TextCorpus:
    texts: list[str] = []
    labels: list[int] = []
    splits: Splits = {}
    for split in ("train", "val", "test"):
        if split in parts:
            splits[split] = list(range(len(texts), len(texts) + len(parts[split][0])))
            texts += parts[split][0]
            labels += parts[split][1]
    ids = content_ids([options.name] * len(texts), texts, labels)
    if "val" not in splits:
        splits |= validation_from_training(splits["train"], ids, texts, labels, options.seed)
    cleaned = [clean_text(text) for text in texts]
    return TextCorpus(cleaned, labels, SENTIMENTS, ids, splits)
