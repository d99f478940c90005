"""What a pretrained model is fed of a prepared batch, and where its tokens lie in the input.

Shapes: B batch, K tokens, special ones (CLS, SEP) included.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from attention_atlas.encoder.tokens import Batch, LayoutKind, TokenLayout, Tokens

Inputs = dict[str, Tensor]


class ModelInputs(ABC):
    """One way to feed a model of transformers.

    Attributes:
        layout_kind: Of its tokens.
        num_tokens: K, where all inputs have as many; else None.
        leading_tokens: Names of the tokens that the model puts before those of the input, where
            they are known.
    """

    layout_kind: LayoutKind
    num_tokens: int | None = None
    leading_tokens: Sequence[str] = ()

    @abstractmethod
    def __call__(self, batch: Batch) -> Inputs:
        """The inputs of a prepared batch."""

    @abstractmethod
    def blank(self, tokens: Tokens) -> Inputs:
        """Inputs of the shapes that these tokens are made of; of their content, masks alone."""

    @abstractmethod
    def layout(self, batch: Batch) -> TokenLayout:
        """Where the tokens of a prepared batch lie in the input."""

    def padding(self, batch: Batch) -> Tensor | None:
        """[B, K], True where a token is padding; None where there is none."""
        return None


class TextInputs(ModelInputs):
    """Token ids, of which `lengths` are valid."""

    layout_kind = "character_span"

    def __call__(self, batch: Batch) -> Inputs:
        """Ids and mask [B, K]."""
        return {"input_ids": batch["inputs"], "attention_mask": (~self.padding(batch)).long()}

    def blank(self, tokens: Tokens) -> Inputs:
        """The mask, and ids of 0."""
        size, device = tokens.values.shape[:2], tokens.values.device
        padding = tokens.key_padding_mask
        mask = torch.ones(size, device=device) if padding is None else ~padding
        ids = torch.zeros(size, dtype=torch.long, device=device)
        return {"input_ids": ids, "attention_mask": mask.long()}

    def layout(self, batch: Batch) -> TokenLayout:
        """The characters of each token, [start, end); of special tokens none."""
        return TokenLayout(self.layout_kind, batch["spans"].float(), ~self.padding(batch))

    def padding(self, batch: Batch) -> Tensor:
        """From each text's length on."""
        steps = torch.arange(batch["inputs"].shape[1], device=batch["lengths"].device)
        behind: Tensor = steps >= batch["lengths"][:, None]
        return behind


class BoxInputs(ModelInputs):
    """Inputs of one size, whose tokens lie in the same boxes each time.

    Args:
        name: Of the argument that the model takes.
        shape: Of one input.
        layout_kind: Of the boxes.
        boxes: [K, 4]; NaN of the tokens that stand for no place.
        leading_tokens: Names of the first of these, where they are known.
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
        self.boxes = boxes.float()
        self.num_tokens = len(boxes)
        self.leading_tokens = leading_tokens

    def __call__(self, batch: Batch) -> Inputs:
        """The inputs as the data module prepared them."""
        return {self.name: batch["inputs"]}

    def blank(self, tokens: Tokens) -> Inputs:
        """Zeros."""
        return {self.name: tokens.values.new_zeros(len(tokens.values), *self.shape)}

    def layout(self, batch: Batch) -> TokenLayout:
        """The same boxes for each sample."""
        boxes = self.boxes.expand(len(batch["inputs"]), -1, -1)
        return TokenLayout(self.layout_kind, boxes, torch.ones(boxes.shape[:2], dtype=torch.bool))
