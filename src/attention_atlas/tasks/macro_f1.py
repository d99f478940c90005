"""Macro-F1 from C counts in place of a matrix [C, C] for each batch."""

import torch
from torch import Tensor
from torchmetrics import Metric


class MacroF1(Metric):
    """Mean F1 over the classes that occur in labels or predictions; counts sum over ranks.

    Args:
        num_classes: Number C of classes.
    """

    full_state_update = False
    higher_is_better = True
    right: Tensor
    occurring: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in ("right", "occurring"):
            zeros = torch.zeros(num_classes, dtype=torch.long)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, scores: Tensor, label: Tensor) -> None:
        """Count a batch of scores [B, C] and labels [B]."""
        prediction = scores.argmax(-1)
        self.right += self._count(label[label == prediction])
        self.occurring += self._count(label) + self._count(prediction)

    def compute(self) -> Tensor:
        """Return the mean, 0 without samples."""
        occurs = self.occurring > 0
        f1 = 2 * self.right[occurs] / self.occurring[occurs]
        return f1.sum() / max(len(f1), 1)

    def _count(self, indices: Tensor) -> Tensor:
        return torch.bincount(indices, minlength=self.num_classes)
