"""Record what the test set makes the model attend to, and keep it in an atlas."""

import hashlib
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from attention_atlas.atlas import AtlasAttributes, AtlasWriter, CapturedSample
from attention_atlas.attention import Recording, record
from attention_atlas.data.base import AtlasDataModule, Drawable
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.splits import stable_hash
from attention_atlas.encoder import TokenLayout
from attention_atlas.tasks import ClassificationTask


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


class Capture(Callback):
    """Records each test batch and writes it to an atlas.

    Of every sample the readout row and the entropy of each head, of the chosen samples every layer
    and head in full. The model's kernel and output stay as they are.

    Args:
        path: Where the atlas is made.
        attributes: What the atlas says of the run.
        chosen: Ids of the samples that are kept in full.
        dtype: Of the maps, `float16` or `float32`.
        max_tokens: Most tokens that a sample can have.
        split: Name of the split that is recorded.
    """

    def __init__(
        self,
        path: Path,
        attributes: AtlasAttributes,
        chosen: set[str],
        dtype: str,
        max_tokens: int | None,
        split: str = "test",
    ) -> None:
        self.path = path
        self.attributes = attributes
        self.chosen = chosen
        self.dtype = dtype
        self.max_tokens = max_tokens
        self.split = split
        self._writer: AtlasWriter | None = None
        self._contexts = ExitStack()
        self._layers: Recording | None = None
        self._full: Recording | None = None
        self._readout: Recording | None = None
        self._positions: list[int] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the atlas."""
        self._writer = AtlasWriter(
            self.path,
            self.attributes,
            rank=trainer.global_rank,
            max_tokens=self.max_tokens,
            maps_dtype=self.dtype,
        )

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Ask for what is kept of this batch."""
        model = _model(pl_module)
        ids = batch["sample_id"]
        self._positions = [i for i, sample_id in enumerate(ids) if sample_id in self.chosen]
        enter = self._contexts.enter_context
        layers = model.attention_layers
        self._layers = self._full = self._readout = None
        if layers:
            self._layers = enter(record(model, layers=layers, statistics=("entropy",)))
            if self._positions:
                self._full = enter(record(model, layers=layers, samples=self._positions))
        if model.readout_layer is not None:
            self._readout = enter(
                record(model, layers=model.readout_layer, queries="first", statistics=("entropy",))
            )

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write what this batch gave."""
        self._contexts.close()
        assert self._writer is not None
        layout = _model(pl_module).token_layout(batch)
        drawable = trainer.datamodule.drawable(batch)  # type: ignore[attr-defined]
        self._writer.add(self._samples(batch, outputs, layout, drawable))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit the rest."""
        if self._writer is not None:
            self._writer.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the model as it was; what was committed stays readable."""
        self._contexts.close()

    def _samples(
        self, batch: Batch, logits: Tensor, layout: TokenLayout, drawable: Drawable
    ) -> list[CapturedSample]:
        readout, readout_entropy = self._readout_rows(len(logits), layout.boxes.shape[1])
        entropy = self._mean_entropy(layout.valid)
        rank = {position: place for place, position in enumerate(self._positions)}
        full = None
        if self._full is not None:
            full = _numpy(torch.stack([self._full.maps[name] for name in self._full.maps], dim=1))
        valid, boxes, scores = _numpy(layout.valid), _numpy(layout.boxes), _numpy(logits)
        samples = []
        for index, sample_id in enumerate(batch["sample_id"]):
            keep = np.flatnonzero(valid[index])
            maps = None
            if index in rank:
                maps = np.zeros((0, 0, len(keep), len(keep)), dtype=np.float32)
                if full is not None:
                    maps = full[rank[index]][:, :, keep][..., keep]
            drawn: dict[str, Any] = {kind: values[index] for kind, values in drawable.items()}
            samples.append(
                CapturedSample(
                    sample_id=sample_id,
                    label=int(batch["label"][index]),
                    prediction=int(scores[index].argmax()),
                    logits=scores[index],
                    boxes=boxes[index, keep],
                    readout=readout[index][:, keep],
                    readout_entropy=readout_entropy[index],
                    entropy=entropy[index],
                    maps=maps,
                    split=self.split,
                    groups={key: values[index] for key, values in batch.get("groups", {}).items()},
                    **drawn,
                )
            )
        return samples

    def _readout_rows(self, num_samples: int, num_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """[B, H, K] and [B, H]; without an attention readout there are no rows."""
        if self._readout is None:
            return np.zeros((num_samples, 0, num_tokens)), np.zeros((num_samples, 0))
        (name,) = self._readout.maps
        rows = _numpy(self._readout.maps[name][:, :, 0])
        return rows, _numpy(self._readout.statistics["entropy"][name][:, :, 0])

    def _mean_entropy(self, valid: Tensor) -> np.ndarray:
        """[B, L, H]: the mean over the rows of valid queries."""
        if self._layers is None:
            return np.zeros((len(valid), 0, 0))
        by_layer = self._layers.statistics["entropy"]
        entropy = torch.stack([by_layer[name] for name in by_layer], dim=1)
        weights = valid.to(entropy.device, entropy.dtype)
        total = torch.einsum("blhq,bq->blh", entropy, weights)
        return _numpy(total / weights.sum(1).clamp(min=1)[:, None, None])


def build_capture(
    config: DictConfig,
    checkpoint: Path,
    path: Path,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    split: str = "test",
) -> list[Callback]:
    """The capture callback of the config; none with `capture=off`."""
    if "dtype" not in config.capture:  # debug=fast sets num_samples, with capture=off too
        return []
    spectrogram = {}
    if hasattr(datamodule, "mel_edges"):
        edges = np.asarray(datamodule.mel_edges)
        spectrogram = {
            "mel_frequencies": ((edges[:-1] + edges[1:]) / 2).tolist(),
            "frame_seconds": datamodule.hop_seconds,  # type: ignore[attr-defined]
        }
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    attributes = AtlasAttributes(
        task=config.task.name,
        data=config.data.name,
        classes=datamodule.classes,
        token_layout=task.model.embedding.layout_kind,
        layers=task.model.attention_layers,
        mechanism=plain["attention"],
        config={str(key): value for key, value in plain.items()},
        checkpoint_digest=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        **spectrogram,
    )
    return [
        Capture(
            path,
            attributes,
            choose_samples(datamodule.datasets[split], config.capture.num_samples),
            config.capture.dtype,
            getattr(datamodule, "max_length", None),
            split,
        )
    ]


def _model(pl_module: LightningModule) -> Any:
    assert isinstance(pl_module, ClassificationTask)
    return pl_module.model


def _numpy(values: Tensor) -> np.ndarray:
    if values.is_floating_point():
        values = values.float()
    array: np.ndarray = values.detach().cpu().numpy()
    return array
