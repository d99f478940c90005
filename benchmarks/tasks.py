"""The three tasks with their own configs and their embedded data."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from omegaconf import DictConfig

from attention_atlas.config.compose import compose_config, config_folder, without_hydra
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.pipeline.build import build_task
from attention_atlas.pipeline.build_model import build_datamodule
from benchmarks.processes import in_fresh_process
from benchmarks.shapes import Shape

TASKS = ("nlp", "vision", "speech")
CONF = Path(__file__).resolve().parents[1] / "conf"


def compose_task(name: str, folder: Path, *overrides: str) -> DictConfig:
    """The config of `python train.py task=<name>` with overrides, for a run in a folder."""
    with config_folder(CONF):
        config = compose_config("train", [f"task={name}", f"run_folder={folder}", *overrides])
    return without_hydra(config)


def task_shape(task: str) -> Shape:
    """What the encoder of a task sees of its training batch of median length."""
    return in_fresh_process(_task_shape, task)


def _task_shape(name: str) -> Shape:
    with tempfile.TemporaryDirectory() as folder:
        config = compose_task(name, Path(folder))
        datamodule = build_datamodule(config)
        embedding = build_task(config, datamodule).model.embedding
    batches = islice(datamodule.loader("train", datamodule.batch_size, shuffle=True), 50)
    with torch.no_grad():
        tokens = [embedding(datamodule.prepare(batch, training=True)) for batch in batches]
    median = sorted(tokens, key=lambda each: each.values.shape[1])[len(tokens) // 2]
    batch, length, embed_dim = median.values.shape
    heads = config.encoder.num_heads
    padding = median.key_padding_mask
    lengths = None if padding is None else tuple((~padding).sum(1).tolist())
    label = f"{name}: B={batch} L={length} D={embed_dim} H={heads}"
    return Shape(label, batch, heads, length, embed_dim // heads, lengths)


class Part:
    """Some samples of a data set."""

    def __init__(self, whole: BatchDataset, indexes: Sequence[int]) -> None:
        self.whole = whole
        self.indexes = indexes
        self.labels = [whole.labels[index] for index in indexes]
        self.sample_ids = [whole.sample_ids[index] for index in indexes]
        lengths = whole.lengths
        self.lengths = None if lengths is None else [lengths[index] for index in indexes]

    def __len__(self) -> int:
        return len(self.indexes)

    def __getitem__(self, index: int) -> Batch:
        return self.whole[self.indexes[index]]

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.whole.__getitems__([self.indexes[index] for index in indices])
