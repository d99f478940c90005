"""Macro-F1 against torchmetrics, and what it holds of many classes."""

import torch
from torchmetrics.classification import MulticlassF1Score

from attention_atlas.tasks.base import _metrics
from attention_atlas.tasks.macro_f1 import MacroF1


def test_it_is_that_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    for num_classes, batches in ((2, 3), (5, 1), (40, 4), (3, 0)):
        ours, theirs = MacroF1(num_classes), MulticlassF1Score(num_classes, average="macro")
        for _ in range(batches):
            scores = torch.randn(16, num_classes, generator=generator)
            label = torch.randint(num_classes, (16,), generator=generator)
            ours.update(scores, label)
            theirs.update(scores, label)
        if batches:
            torch.testing.assert_close(ours.compute(), theirs.compute())
    assert MacroF1(3)(torch.eye(3), torch.tensor([0, 1, 2])) == 1


def test_metrics_of_many_classes_hold_no_matrix_of_them() -> None:
    """Neither between batches nor while one is counted."""
    num_classes = 3_000
    metrics = _metrics(num_classes, "val/")
    scores, label = torch.eye(num_classes)[:8], torch.arange(8)
    with torch.profiler.profile(profile_memory=True) as profile:
        metrics.update(scores, label)
        metrics.compute()
    assert max(event.self_cpu_memory_usage for event in profile.events()) < 8 * num_classes * 50
