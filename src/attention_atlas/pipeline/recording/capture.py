"""Record the attention of the model on the test set, and write it to an atlas."""

import hashlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from attention_atlas.atlas import AtlasWriter
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.loader import Batch
from attention_atlas.encoder import Classifier
from attention_atlas.pipeline.recording.batch_recorder import BatchRecorder
from attention_atlas.pipeline.recording.describe import choose_samples, describe_atlas, max_tokens
from attention_atlas.tasks import ClassificationTask


class Capture(Callback):
    """Records each test batch and writes it to an atlas.

    Args:
        make_writer: Opens the atlas, by the keywords `rank` and `num_samples` of `AtlasWriter`.
        recorder: Records a batch.
        num_samples: Number of samples of the recorded split, on all ranks.
        split: Name of the recorded split.
        epoch: The epoch that the samples are saved under.
    """

    def __init__(
        self,
        make_writer: Callable[..., AtlasWriter],
        recorder: BatchRecorder,
        num_samples: int,
        split: str,
        epoch: int = 0,
    ) -> None:
        self.make_writer = make_writer
        self.recorder = recorder
        self.num_samples = num_samples
        self.split = split
        self.epoch = epoch
        self._writer: AtlasWriter | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the atlas."""
        self._writer = self._open_writer(trainer)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *_: Any
    ) -> None:
        """Open the recordings of the batch."""
        self.recorder.open(_model(pl_module), batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Write the recorded batch."""
        self._add(trainer, pl_module, batch, self.epoch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit the remaining rows and close the atlas."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove the observers from the model; committed rows stay readable."""
        self.recorder.discard()
        if self._writer is not None:
            self._writer.stop()

    def _open_writer(self, trainer: Trainer) -> AtlasWriter:
        num_samples = math.ceil(self.num_samples / trainer.world_size)
        return self.make_writer(rank=trainer.global_rank, num_samples=num_samples)

    def _add(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, epoch: int) -> None:
        model, display_inputs = _model(pl_module), trainer.datamodule.display_inputs  # type: ignore[attr-defined]
        captured = self.recorder.take(model, batch, display_inputs, self.split, epoch)
        if captured is not None:
            self._writer = self._writer or self._open_writer(trainer)
            self._writer.add_batch(captured)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class EpochCapture(Capture):
    """Records the maps of chosen samples while every n-th epoch is validated, and appends them.

    Validation runs with its own weights and kernels, so that recording does not change training.

    Args:
        every_n_epochs: Number of epochs from one recorded epoch to the next.
        options: The options of `Capture`.
    """

    def __init__(self, every_n_epochs: int, **options: Any) -> None:
        super().__init__(**options)
        self.every_n_epochs = every_n_epochs

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *_: Any
    ) -> None:
        """Open the recordings of the batch."""
        if self._is_recorded(trainer):
            self.recorder.open(_model(pl_module), batch)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Write the recorded batch."""
        if self._is_recorded(trainer):
            self._add(trainer, pl_module, batch, trainer.current_epoch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit the epoch."""
        if self._writer is not None and self._is_recorded(trainer):
            self._writer.flush(wait=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the atlas, to which the test may append."""
        self._close()

    def _is_recorded(self, trainer: Trainer) -> bool:
        is_due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return is_due and not trainer.sanity_checking


def build_capture(
    config: DictConfig,
    checkpoint: Path,
    path: Path,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    split: str = "test",
    epochs_trained: int | None = None,
) -> list[Callback]:
    """Return the capture callback for a test; none with `capture=off`.

    The task has the weights of the checkpoint. With `epochs_trained`, the epochs of the training
    before the test, the samples are appended to the atlas of the training.
    """
    if "dtype" not in config.capture:  # debug=fast sets num_samples, with capture=off too
        return []
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    append = epochs_trained is not None
    options = _options(
        config, path, task, datamodule, split, append=append, save_others=True, digest=digest
    )
    num_samples = len(datamodule.datasets[split].sample_ids)
    return [Capture(**options, num_samples=num_samples, epoch=epochs_trained or 0)]


def build_epoch_capture(
    config: DictConfig, path: Path, task: ClassificationTask, datamodule: AtlasDataModule
) -> list[Callback]:
    """Return the capture callback for a training; none unless epochs are recorded."""
    every_n_epochs = config.capture.get("every_n_epochs")
    if "dtype" not in config.capture or every_n_epochs is None:
        return []
    # A resumed run appends to its own atlas.
    options = _options(config, path, task, datamodule, "val", append=True, save_others=False)
    return [EpochCapture(every_n_epochs, **options, num_samples=len(options["recorder"].chosen))]


def _options(
    config: DictConfig,
    path: Path,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    split: str,
    append: bool,
    save_others: bool,
    digest: str | None = None,
) -> dict[str, Any]:
    """Return the options of both captures; that of a training has no digest of a checkpoint.

    With `save_others` the samples that are not chosen are saved too, without their maps.
    """
    attributes = describe_atlas(config, task.model, datamodule, digest)
    chosen = choose_samples(datamodule.datasets[split], config.capture.num_samples)
    queries = config.capture.get("entropy_queries")  # runs of version 0.1 may have none
    dtype = config.capture.dtype
    writer = partial(
        AtlasWriter,
        path,
        attributes,
        max_tokens=max_tokens(task.model, datamodule),
        maps_dtype=dtype,
        digests=bool(config.capture.get("digests", False)),
        append=append,
    )
    recorder = BatchRecorder(chosen, save_others, attributes.has_null_key, queries, dtype)
    return {"make_writer": writer, "recorder": recorder, "split": split}


def _model(pl_module: LightningModule) -> Classifier:
    assert isinstance(pl_module, ClassificationTask)
    return pl_module.model
