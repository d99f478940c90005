"""Predictions for many modified copies of the samples of a batch.

Shapes: B batch, K tokens of the layout, P copies.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from attention_atlas.analysis.faithfulness.removal import Removal, removable
from attention_atlas.encoder import Classifier, TokenLayout
from attention_atlas.encoder.tokens import Batch

MAX_TOKENS = 16_384
"""Tokens of one pass, padding included."""


class Probe:
    """Predictions for the samples of a batch with some of their tokens removed.

    The model is in evaluation mode; one pass takes at most `max_tokens` tokens.

    Attributes:
        layout: Layout of the tokens that the model sees.
        removable: bool [B, K], the tokens that can be removed.
        target: [B], the class that is explained: the predicted one.
        whole: [B], its probability for the input as it is.
        num_copies: Number of inputs of the model so far.
    """

    def __init__(
        self, model: Classifier, batch: Batch, removal: Removal, max_tokens: int = MAX_TOKENS
    ) -> None:
        self.model = model
        self.batch = batch
        self.removal = removal
        self.layout = model.token_layout(batch)
        self.removable: npt.NDArray[np.bool_] = removable(self.layout).cpu().numpy()
        self.copies_per_pass = max(max_tokens // self.layout.boxes.shape[1], 1)
        with torch.no_grad():
            logits = model(batch)
            self.target: Tensor = logits.argmax(dim=1)
            self.whole = self._chosen(logits, self.target)
            self._replacement = removal.replacement(batch, self.layout)
        self.num_copies = len(logits)

    def __call__(
        self, rows: npt.NDArray[np.int64], removed: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        """Return the probability [P] of the class of each copy.

        `rows` [P] are the samples that the copies are made from, `removed` [P, K] the tokens that
        are removed from them.
        """
        found = [
            self._pass(
                rows[start : start + self.copies_per_pass],
                removed[start : start + self.copies_per_pass],
            )
            for start in range(0, len(rows), self.copies_per_pass)
        ]
        self.num_copies += len(rows)
        return np.concatenate(found) if found else np.zeros(0)

    @torch.no_grad()
    def _pass(
        self, rows: npt.NDArray[np.int64], removed: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        device = self.target.device
        chosen = torch.from_numpy(rows).to(device)
        copies = {
            name: values[chosen]
            for name, values in self.batch.items()
            if isinstance(values, Tensor)
        }
        boxes = self.layout.boxes.to(device)[chosen]
        layout = TokenLayout(self.layout.kind, boxes, self.layout.valid.to(device)[chosen])
        mask = torch.from_numpy(removed).to(device)
        changed = self.removal.remove(copies, mask, layout, self._replacement[chosen])
        return self._chosen(self.model(changed), self.target[chosen])

    @staticmethod
    def _chosen(logits: Tensor, target: Tensor) -> npt.NDArray[np.float64]:
        chances = logits.double().softmax(dim=1).gather(1, target[:, None])[:, 0]
        array: npt.NDArray[np.float64] = chances.cpu().numpy()
        return array


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


MAX_CELLS = 2**20
"""Maximum B x K x K of a part: attributions need the full map of a head."""


def select(batch: Batch, indices: list[int]) -> Batch:
    """Return some samples of a batch, padded to the longest of them."""
    part: Batch = {
        name: values[indices] for name, values in batch.items() if isinstance(values, Tensor)
    }
    part["sample_id"] = [batch["sample_id"][index] for index in indices]
    if "lengths" in part and part["inputs"].ndim == 2:  # token ids, padded to the longest text
        longest = max(int(part["lengths"].max()), 1)
        part |= {name: part[name][:, :longest] for name in ("inputs", "spans") if name in part}
    return part


def cut(batches: Iterable[Batch], model: Classifier) -> Iterator[Batch]:
    """Yield the samples of prepared batches in parts of at most `MAX_CELLS`, the shorter first."""
    for batch in batches:
        lengths = model.token_layout(batch).valid.sum(dim=1).tolist()
        indices: list[int] = []
        for index in sorted(range(len(lengths)), key=lengths.__getitem__):
            if indices and (len(indices) + 1) * lengths[index] ** 2 > MAX_CELLS:
                yield select(batch, indices)
                indices = []
            indices.append(index)
        if indices:
            yield select(batch, indices)
