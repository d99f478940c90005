"""Remove tokens from texts. Shapes: B batch, K tokens of the layout, T token ids of the input."""

from typing import Any, Self

import torch
from torch import Tensor

from attention_atlas.analysis.faithfulness.removal.base import Removal, removable
from attention_atlas.data.text.tokenizer import SpecialTokens
from attention_atlas.encoder import TokenLayout
from attention_atlas.encoder.tokens import Batch


class MaskRemoval(Removal):
    """Replaces a token by [MASK], which a model trained with word dropout knows."""

    name = "mask"
    description = "the token [MASK]"

    def __init__(self, special: SpecialTokens | None = None) -> None:
        self.special = special or SpecialTokens()

    @classmethod
    def of(cls, datamodule: Any) -> Self:
        """Return the removal with the special tokens of the tokenizer of the data."""
        return cls(datamodule.special)

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Return [MASK] for each token, [B, T]."""
        return torch.full_like(batch["inputs"], self.special.mask)

    def covered(self, batch: Batch, removed: Tensor, layout: TokenLayout) -> Tensor:
        """Return which tokens are covered, bool [B, T]; special ones precede those of the input."""
        return removed[:, -batch["inputs"].shape[1] :]


class PadRemoval(MaskRemoval):
    """Deletes a token: the following tokens move up, and padding is added at the end."""

    name = "pad"
    description = "nothing: the tokens behind it move up"

    def remove(
        self,
        batch: Batch,
        removed: Tensor,
        layout: TokenLayout,
        replacement: Tensor | None = None,
    ) -> Batch:
        """Return the texts without the tokens, padded to their former size."""
        ids = batch["inputs"]
        removed_here = self.covered(batch, removed & removable(layout).to(removed.device), layout)
        steps = torch.arange(ids.shape[1], device=ids.device)
        remaining = ~removed_here & (steps < batch["lengths"][:, None])
        order = torch.argsort(~remaining, dim=1, stable=True)
        lengths = remaining.sum(dim=1)
        behind = steps >= lengths[:, None]
        moved = ids.gather(1, order).masked_fill(behind, self.special.pad)
        changed = {"inputs": moved, "lengths": lengths}
        if "spans" in batch:
            spans = batch["spans"].gather(1, order[:, :, None].expand(-1, -1, 2))
            changed["spans"] = spans.masked_fill(behind[:, :, None], 0)
        return batch | changed
