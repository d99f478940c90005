"""Arguments of a pretrained model from a prepared batch, and where its tokens lie in the input.

Shapes: B batch, K tokens, special ones (CLS, SEP) included.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from attention_atlas.encoder.tokens import (
    Batch,
    LayoutKind,
    TokenLayout,
    Tokens,
    padding_mask,
    same_boxes,
)

Inputs = dict[str, Tensor]


class ModelInputs(ABC):
    """Makes the arguments of a model of transformers.

    Attributes:
        layout_kind: Kind of layout of its tokens.
        num_tokens: K, if all inputs have the same; else None.
        leading_tokens: Names of the tokens that the model puts before those of the input, if known.
    """

    layout_kind: LayoutKind
    num_tokens: int | None = None
    leading_tokens: Sequence[str] = ()

    @abstractmethod
    def __call__(self, batch: Batch) -> Inputs:
        """Return the arguments for a prepared batch."""

    @abstractmethod
    def blank(self, tokens: Tokens) -> Inputs:
        """Return arguments of the shapes that give these tokens: masks, but no content."""

    @abstractmethod
    def layout(self, batch: Batch) -> TokenLayout:
        """Return where the tokens of a prepared batch lie in the input."""

    def padding(self, batch: Batch) -> Tensor | None:
        """Return [B, K], True where a token is padding; None without padding."""
        return None


class TextInputs(ModelInputs):
    """Token ids and their mask."""

    layout_kind = "character_span"

    def __call__(self, batch: Batch) -> Inputs:
        """Return ids and mask [B, K]."""
        return {"input_ids": batch["inputs"], "attention_mask": (~self.padding(batch)).long()}

    def blank(self, tokens: Tokens) -> Inputs:
        """Return the mask, and ids of 0."""
        size, device = tokens.values.shape[:2], tokens.values.device
        padding = tokens.key_padding_mask
        mask = torch.ones(size, device=device) if padding is None else ~padding
        ids = torch.zeros(size, dtype=torch.long, device=device)
        return {"input_ids": ids, "attention_mask": mask.long()}

    def layout(self, batch: Batch) -> TokenLayout:
        """Return the characters of each token, [start, end); empty for special tokens."""
        return TokenLayout(self.layout_kind, batch["spans"].float(), ~self.padding(batch))

    def padding(self, batch: Batch) -> Tensor:
        """Return [B, K], True from each text's length on."""
        return padding_mask(batch["lengths"], batch["inputs"].shape[1])


class BoxInputs(ModelInputs):
    """Inputs of one size, whose tokens lie in the same boxes each time.

    Args:
        name: Name of the model's argument.
        shape: Shape of one input.
        layout_kind: Kind of the boxes.
        boxes: [K, 4]; NaN for tokens that stand for no part of the input.
        leading_tokens: Names of the first tokens, if known.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        layout_kind: LayoutKind,
        boxes: Tensor,
        leading_tokens: Sequence[str],
    ) -> None:
        self.name = name
        self.shape = shape
        self.layout_kind = layout_kind
        self.boxes = boxes
        self.num_tokens = len(boxes)
        self.leading_tokens = leading_tokens

    def __call__(self, batch: Batch) -> Inputs:
        """Return the inputs that the data module prepared."""
        return {self.name: batch["inputs"]}

    def blank(self, tokens: Tokens) -> Inputs:
        """Return zeros."""
        return {self.name: tokens.values.new_zeros(len(tokens.values), *self.shape)}

    def layout(self, batch: Batch) -> TokenLayout:
        """Return the same boxes for each sample."""
        return same_boxes(self.layout_kind, self.boxes, batch)
