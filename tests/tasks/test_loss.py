"""The training loss by its formula."""

import torch
from torch import nn

from attention_atlas.tasks import ClassificationTask


class Given(nn.Module):
    """Gives the logits of the batch."""

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return batch["logits"]


def test_class_weights_weigh_the_loss_of_each_sample() -> None:
    weights = [3.0, 1.0, 0.5]
    task = ClassificationTask(Given(), ["a", "b", "c"], None, None, class_weights=weights)  # type: ignore[arg-type]
    task.log = lambda *args, **options: None  # type: ignore[method-assign,assignment]
    logits, label = torch.randn(8, 3), torch.tensor([0, 0, 1, 2, 2, 2, 1, 0])
    loss = task.training_step({"logits": logits, "label": label}, 0)
    each = -logits.log_softmax(-1)[torch.arange(8), label]
    weight = torch.tensor(weights)[label]
    torch.testing.assert_close(loss, (weight * each).sum() / weight.sum())
    assert "class_weights" not in task.state_dict()
