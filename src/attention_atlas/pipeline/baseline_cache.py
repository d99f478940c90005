"""Measured baselines, stored by a digest of the samples that they were measured on."""

import hashlib
import json
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from attention_atlas.config.plain import plain
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.cache import cache_root
from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.run_folder import read_json

FORMAT = 3  # raised when the estimators change, so that older figures are not found

NOT_SEEN = {"path", "group", "batch_size", "eval_batch_size", "num_workers", "seed"}
NOT_SEEN |= {"_target_", "encoding", "tokenizer_path", "vocab_size", "max_length", "max_memory_mib"}
"""Options of `data` that a baseline does not depend on beside the samples themselves."""


def store_baseline(config: DictConfig, datamodule: AtlasDataModule, result: dict[str, Any]) -> None:
    """Store a measured baseline in the cache folder."""
    write_json(_path_of(split_digest(config, datamodule)), result)


def known_baseline(config: DictConfig, datamodule: AtlasDataModule) -> dict[str, Any] | None:
    """Return the baseline of exactly these samples in this split; None if it was not measured.

    `atlas baseline` stores its figures in the cache folder; those of the embedded data sets
    come with the package.
    """
    digest = split_digest(config, datamodule)
    path = _path_of(digest)
    with suppress(InputError):  # a damaged file counts as none
        content = read_json(path.parent, path.name)
        if content is not None and "model" in content:
            return content
    shipped = files("attention_atlas.pipeline").joinpath("baselines.json")
    known: dict[str, dict[str, Any]] = json.loads(shipped.read_text(encoding="utf-8"))
    return known.get(digest)


def split_digest(config: DictConfig, datamodule: AtlasDataModule) -> str:
    """Return a digest of the samples, their labels and splits, and their features."""
    left_out = NOT_SEEN | ({"augmentation"} if datamodule.modality == "text" else set())
    seen = {key: value for key, value in plain(config.data).items() if key not in left_out}
    digest = hashlib.blake2b(json.dumps([FORMAT, seen], sort_keys=True).encode(), digest_size=10)
    for split in ("train", "val", "test"):
        dataset = datamodule.datasets[split]
        rows = zip(dataset.sample_ids, dataset.labels, strict=True)
        digest.update(
            "\n".join([split, *sorted(f"{name}\t{label}" for name, label in rows)]).encode()
        )
    return digest.hexdigest()


def _path_of(digest: str) -> Path:
    return cache_root() / "baselines" / f"{digest}.json"
