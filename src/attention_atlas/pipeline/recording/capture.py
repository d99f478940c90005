"""Record what the test set makes the model attend to, and keep it in an atlas."""

import hashlib
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from attention_atlas.atlas import AtlasAttributes, AtlasWriter
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.loader import Batch
from attention_atlas.encoder import Classifier
from attention_atlas.pipeline.recording.batch_recorder import BatchRecorder
from attention_atlas.pipeline.recording.describe import choose_samples, describe_atlas, most_tokens
from attention_atlas.tasks import ClassificationTask


class Capture(Callback):
    """Records each test batch and writes it to an atlas.

    Args:
        path: Where the atlas is made.
        attributes: What the atlas says of the run.
        recorder: Records a batch.
        dtype: Of the maps, `float16` or `float32`.
        max_tokens: Most tokens that a sample can have.
        num_samples: Samples of the split that is recorded.
        split: Its name.
        epoch: That the samples are kept under.
        digests: Whether a digest of each array is kept.
        append: Whether to go on with an atlas that is there.
    """

    def __init__(
        self,
        path: Path,
        attributes: AtlasAttributes,
        recorder: BatchRecorder,
        dtype: str,
        max_tokens: int | None,
        num_samples: int,
        split: str = "test",
        epoch: int = 0,
        digests: bool = False,
        append: bool = False,
    ) -> None:
        self.path = path
        self.attributes = attributes
        self.recorder = recorder
        self.dtype = dtype
        self.max_tokens = max_tokens
        self.num_samples = num_samples
        self.split = split
        self.epoch = epoch
        self.digests = digests
        self.append = append
        self._writer: AtlasWriter | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the atlas."""
        self._writer = self._open_writer(trainer)

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Ask for what is kept of this batch."""
        self.recorder.open(_model(pl_module), batch)

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
        self._take(trainer, pl_module, batch, self.epoch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit the rest."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the model as it was; what was committed stays readable."""
        self.recorder.close()
        if self._writer is not None:
            self._writer.stop()

    def _open_writer(self, trainer: Trainer) -> AtlasWriter:
        return AtlasWriter(
            self.path,
            self.attributes,
            rank=trainer.global_rank,
            max_tokens=self.max_tokens,
            num_samples=math.ceil(self.num_samples / trainer.world_size),
            maps_dtype=self.dtype,
            digests=self.digests,
            append=self.append,
        )

    def _take(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, epoch: int) -> None:
        model, display_inputs = _model(pl_module), trainer.datamodule.display_inputs  # type: ignore[attr-defined]
        captured = self.recorder.take(model, batch, display_inputs, self.split, epoch)
        if captured is not None:
            self._writer = self._writer or self._open_writer(trainer)
            self._writer.add_batch(captured)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class EpochCapture(Capture):
    """Records chosen samples in full while every n-th epoch is validated, and appends them.

    Validation runs as it does anyway and with the weights that it has; nothing but copies of what
    attention sees is made. So training goes on as if nothing were recorded.

    Args:
        every_n_epochs: Epochs from one that is recorded to the next.
        options: Those of `Capture`.
    """

    def __init__(self, every_n_epochs: int, **options: Any) -> None:
        super().__init__(**options)
        self.every_n_epochs = every_n_epochs

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Ask for the chosen samples of this batch."""
        if self._is_recorded(trainer):
            self.recorder.open(_model(pl_module), batch)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write what this batch gave."""
        if self._is_recorded(trainer):
            self._take(trainer, pl_module, batch, trainer.current_epoch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit the epoch."""
        if self._writer is not None and self._is_recorded(trainer):
            self._writer.flush(wait=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the atlas, with which the test may go on."""
        self._close()

    def _is_recorded(self, trainer: Trainer) -> bool:
        if trainer.sanity_checking:
            return False
        return (trainer.current_epoch + 1) % self.every_n_epochs == 0


def build_capture(
    config: DictConfig,
    checkpoint: Path,
    path: Path,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    split: str = "test",
    epochs_trained: int | None = None,
) -> list[Callback]:
    """The capture callback of the config for a test; none with `capture=off`.

    Args:
        config: Of the run.
        checkpoint: That is tested.
        path: Where the atlas is made.
        task: Has the weights.
        datamodule: Set up.
        split: That is tested.
        epochs_trained: For the test after a training, which goes on with the atlas of its epochs.
    """
    if "dtype" not in config.capture:  # debug=fast sets num_samples, with capture=off too
        return []
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    options = _options(config, path, task, datamodule, split, keep_others=True, digest=digest)
    num_samples = len(datamodule.datasets[split].sample_ids)
    in_training = epochs_trained is not None
    return [
        Capture(**options, num_samples=num_samples, epoch=epochs_trained or 0, append=in_training)
    ]


def build_epoch_capture(
    config: DictConfig, path: Path, task: ClassificationTask, datamodule: AtlasDataModule
) -> list[Callback]:
    """The capture callback of the config for a training; none unless epochs are recorded.

    Args:
        config: Of the run.
        path: Where the atlas is made.
        task: That is trained.
        datamodule: Set up.
    """
    every_n_epochs = config.capture.get("every_n_epochs")
    if "dtype" not in config.capture or every_n_epochs is None:
        return []
    options = _options(config, path, task, datamodule, "val", keep_others=False)
    num_samples = len(options["recorder"].chosen)
    # A resumed run goes on with the atlas that it was begun with.
    return [EpochCapture(every_n_epochs, **options, num_samples=num_samples, append=True)]


def _options(
    config: DictConfig,
    path: Path,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    split: str,
    keep_others: bool,
    digest: str | None = None,
) -> dict[str, Any]:
    """What the capture of a test and that of a training have in common."""
    attributes = describe_atlas(config, task.model, datamodule, digest)
    chosen = choose_samples(datamodule.datasets[split], config.capture.num_samples)
    queries = config.capture.get("entropy_queries")  # a run of before has none
    dtype = config.capture.dtype
    return {
        "path": path,
        "attributes": attributes,
        "recorder": BatchRecorder(chosen, keep_others, attributes.has_null_key, queries, dtype),
        "dtype": dtype,
        "max_tokens": most_tokens(task.model, datamodule),
        "split": split,
        "digests": bool(config.capture.get("digests", False)),
    }


def _model(pl_module: LightningModule) -> Classifier:
    assert isinstance(pl_module, ClassificationTask)
    return pl_module.model
