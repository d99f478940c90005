"""What an atlas says of the run that wrote it."""

import math
from collections import defaultdict
from typing import Any

import numpy as np
from omegaconf import DictConfig

from attention_atlas.atlas import AtlasAttributes
from attention_atlas.attention import Attention
from attention_atlas.config.env_vars import kept_config
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.loader import BatchDataset
from attention_atlas.data.splits import stable_hash
from attention_atlas.encoder import Classifier, ClsReadout
from attention_atlas.pipeline.recording.batch_recorder import Recordable


def choose_samples(dataset: BatchDataset, num_samples: int | None) -> set[str]:
    """Ids of the samples that are kept in full: as many of each class, the same in each run.

    Args:
        dataset: The split that is recorded.
        num_samples: How many; None takes all.
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


def most_tokens(model: Classifier, datamodule: AtlasDataModule) -> int | None:
    """Most tokens that a sample can have; None where texts are never cut."""
    grid = getattr(model.embedding, "grid", None)  # of what has one size
    most = math.prod(grid) if grid else getattr(datamodule, "max_tokens", None)
    return None if most is None else most + isinstance(model.readout, ClsReadout)


def describe_spectrogram(datamodule: AtlasDataModule) -> dict[str, Any]:
    """What an atlas says of its spectrograms; nothing for other inputs."""
    if not hasattr(datamodule, "mel_edges"):
        return {}
    edges = np.asarray(datamodule.mel_edges)
    return {
        "mel_frequencies": ((edges[:-1] + edges[1:]) / 2).tolist(),
        "frame_seconds": datamodule.hop_seconds,  # type: ignore[attr-defined]
    }


def edge_tokens(model: Recordable, datamodule: AtlasDataModule) -> dict[str, Any]:
    """Names of the tokens around those of the input; what the model adds stands outermost."""
    return {
        "leading_tokens": [*model.leading_tokens, *datamodule.leading_tokens],
        "trailing_tokens": list(datamodule.trailing_tokens),
    }


def describe_atlas(
    config: DictConfig, model: Classifier, datamodule: AtlasDataModule, digest: str | None
) -> AtlasAttributes:
    """What an atlas says of the run whose samples it holds."""
    plain = kept_config(config)
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
