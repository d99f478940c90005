"""Attributes of an atlas that describe its run."""

import math
from collections import defaultdict
from typing import Any

import numpy as np
from omegaconf import DictConfig

from attention_atlas.atlas import AtlasAttributes
from attention_atlas.attention import Attention
from attention_atlas.config.plain import saved_config
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.loader import BatchDataset
from attention_atlas.data.splits import stable_hash
from attention_atlas.encoder import Classifier, ClsReadout
from attention_atlas.pipeline.recording.batch_recorder import Recordable


def choose_samples(dataset: BatchDataset, num_samples: int | None) -> set[str]:
    """Return the ids of the samples whose maps are saved: balanced by class, the same in every run.

    Args:
        dataset: The recorded split.
        num_samples: Number of samples; None takes all.
    """
    if num_samples is None:
        return set(dataset.sample_ids)
    by_class: dict[int, list[str]] = defaultdict(list)
    for sample_id, label in zip(dataset.sample_ids, dataset.labels, strict=True):
        by_class[label].append(sample_id)
    turns = [
        (turn, label, sample_id)
        for label, sample_ids in by_class.items()
        for turn, sample_id in enumerate(sorted(sample_ids, key=stable_hash))
    ]
    return {sample_id for _, _, sample_id in sorted(turns)[:num_samples]}


def max_tokens(model: Classifier, datamodule: AtlasDataModule) -> int | None:
    """Return the maximum number of tokens of a sample; None if texts are never truncated."""
    grid = getattr(model.embedding, "grid", None)  # of inputs of a fixed size
    limit = math.prod(grid) if grid else getattr(datamodule, "max_tokens", None)
    return None if limit is None else limit + isinstance(model.readout, ClsReadout)


def describe_spectrogram(datamodule: AtlasDataModule) -> dict[str, Any]:
    """Return the attributes of spectrograms; none for other inputs."""
    if not hasattr(datamodule, "mel_edges"):
        return {}
    edges = np.asarray(datamodule.mel_edges)
    return {
        "mel_frequencies": ((edges[:-1] + edges[1:]) / 2).tolist(),
        "frame_seconds": datamodule.hop_seconds,  # type: ignore[attr-defined]
    }


def edge_tokens(model: Recordable, datamodule: AtlasDataModule) -> dict[str, Any]:
    """Return the names of tokens around those of the input; those of the model are outermost."""
    return {
        "leading_tokens": [*model.leading_tokens, *datamodule.leading_tokens],
        "trailing_tokens": list(datamodule.trailing_tokens),
    }


def describe_atlas(
    config: DictConfig, model: Classifier, datamodule: AtlasDataModule, digest: str | None
) -> AtlasAttributes:
    """Return the attributes of the atlas of a run."""
    plain = saved_config(config)
    return AtlasAttributes(
        task=config.task.name,
        data=config.data.name,
        classes=datamodule.classes,
        token_layout=model.embedding.layout_kind,
        layers=model.attention_layers,
        **edge_tokens(model, datamodule),
        mechanism=plain["attention"],
        config=plain,
        checkpoint_digest=digest,
        signed=any(isinstance(part, Attention) and part.is_signed for part in model.modules()),
        **describe_spectrogram(datamodule),
    )
