"""The task of all modalities: model, loss, metrics and optimizer."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import TypeVar

import torch
import torch.distributed as distributed
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from attention_atlas.data.loader import Batch
from attention_atlas.encoder import Classifier
from attention_atlas.tasks.macro_f1 import MacroF1
from attention_atlas.tasks.optimization import decayed_names, parameter_groups

Key = TypeVar("Key")


class ClassificationTask(LightningModule):
    """A classifier, its loss, its metrics and its optimizer.

    Checkpoints hold tensors and plain containers only: the model is rebuilt from the config of the
    run.

    Args:
        model: Returns logits [B, C].
        classes: Names of the C classes.
        optimizer: Returns an optimizer for parameter groups.
        schedule: Returns a schedule for an optimizer and a number of steps.
        weight_decay: Weight decay of all parameters but those of `decayed_names`.
        label_smoothing: Fraction of the target spread over all classes (Szegedy 2016).
        rates: Learning rates, by parameter name, that differ from that of the optimizer.
        class_weights: Weight of each class in the training loss; None weighs all samples alike.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: Classifier,
        classes: list[str],
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        weight_decay: float = 0.0,
        label_smoothing: float = 0.0,
        rates: Mapping[str, float] | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        num_classes = len(classes)
        self.model = model
        self.classes = classes
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.weight_decay = weight_decay
        # Before a strategy shards them.
        self.num_parameters = sum(each.numel() for each in self.parameters())
        self.decayed = decayed_names(self.model)
        self.rates = dict(rates or {})
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.lr: float | None = None  # set by the learning rate finder
        self.val_metrics = _metrics(num_classes, "val/")
        self.test_metrics = _metrics(num_classes, "test/")
        self._reset_counts()

    def forward(self, batch: Batch) -> Tensor:
        """Return logits [B, C] of a prepared batch."""
        logits: Tensor = self.model(batch)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; mixed samples have a soft target [B, C]."""
        logits = self(batch)
        target = batch["target"] if "target" in batch else batch["label"]
        loss = F.cross_entropy(
            logits, target, self.class_weights, label_smoothing=self.label_smoothing
        )
        self.log("train/loss", loss, on_step=True, on_epoch=False, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect loss and metrics of the validation split."""
        logits, label = self(batch), batch["label"]
        self.val_metrics.update(logits.softmax(-1), label)
        loss = F.cross_entropy(logits, label)
        self.log("val/loss", loss, batch_size=len(label), on_epoch=True, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the whole validation split."""
        metrics = self.val_metrics.compute()
        self.log("val/accuracy", metrics.pop("val/accuracy"), prog_bar=True)
        self.log_dict(metrics)
        self.val_metrics.reset()

    def on_test_start(self) -> None:
        """Reset the counts."""
        self._reset_counts()

    def _reset_counts(self) -> None:
        self.confusion: Counter[tuple[int, int]] = Counter()  # by label and prediction
        self.group_totals: Counter[str] = Counter()
        self.group_hits: Counter[str] = Counter()

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Collect the metrics of the test split, also per group; return logits [B, C]."""
        logits: Tensor = self(batch)
        label = batch["label"]
        self.test_metrics.update(logits.softmax(-1), label)
        loss = F.cross_entropy(logits, label)
        self.log("test/loss", loss, batch_size=len(label), on_epoch=True, sync_dist=True)
        prediction = logits.argmax(-1)
        self.confusion.update(zip(label.tolist(), prediction.tolist(), strict=True))
        correct = (prediction == label).tolist()
        for values in batch.get("groups", {}).values():
            self.group_totals.update(values)
            self.group_hits.update(compress(values, correct))
        return logits

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the whole test split, and its accuracy per group."""
        self.log_dict(self.test_metrics.compute())
        self.test_metrics.reset()
        self.confusion = _sum_over_ranks(self.confusion)
        hits = _sum_over_ranks(self.group_hits)
        for value, total in sorted(_sum_over_ranks(self.group_totals).items()):
            self.log(f"test/accuracy/{value}", torch.tensor(hits[value] / total))

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm or value.

        Lightning refuses to clip with a fused optimizer under mixed precision, which may unscale
        gradients itself. Only float16 is scaled, so bfloat16 is clipped here.
        """
        if not gradient_clip_val or self.trainer.precision == "16-mixed":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(self.parameters(), gradient_clip_val)
        elif isinstance(model := self.trainer.strategy.model, FullyShardedDataParallel):
            model.clip_grad_norm_(gradient_clip_val)  # of all shards
        else:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer over groups of parameters, with a schedule per step."""
        groups = parameter_groups(self.model, self.weight_decay, self.decayed, self.rates)
        optimizer = self.make_optimizer(groups, **({} if self.lr is None else {"lr": self.lr}))
        schedule = self.make_schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _sum_over_ranks(counts: Counter[Key]) -> Counter[Key]:
    """Return the sum over all ranks."""
    if not distributed.is_available() or not distributed.is_initialized():
        return counts
    gathered = [counts] * distributed.get_world_size()
    distributed.all_gather_object(gathered, counts)
    return sum(gathered, Counter())


def _metrics(num_classes: int, prefix: str) -> MetricCollection:
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "macro_f1": MacroF1(num_classes),
            "calibration_error": MulticlassCalibrationError(num_classes, n_bins=15),
        },
        prefix=prefix,
        compute_groups=False,
    )
