"""A batch to explain: its embedded tokens, and the target class of each sample."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attention_atlas.encoder import Classifier, Tokens
from attention_atlas.encoder.tokens import Batch
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class EmbeddedBatch:
    """The embedded tokens of a batch, and the class to explain.

    Attributes:
        tokens: Embedded tokens, values [B, K, D] without a CLS token.
        valid: True where a token of the layout, a CLS token included, is not padding.
        target: The class explained, int64; None for the one predicted.
        reference: Embedded tokens of the batch with every token removed; None without one.
        sample_ids: Ids of the samples; None if the batch has none.
        seed: Seed of the random baseline.
    """

    tokens: Tokens
    valid: Bool[Tensor, "batch tokens"]
    target: Int[Tensor, " batch"] | None
    reference: Float[Tensor, "batch input_tokens embed_dim"] | None
    sample_ids: list[str] | None
    seed: int

    def part(self, rows: slice) -> "EmbeddedBatch":
        """Return the same for some samples."""
        padding = self.tokens.key_padding_mask
        return EmbeddedBatch(
            Tokens(
                self.tokens.values[rows],
                None if padding is None else padding[rows],
                self.tokens.grid,
            ),
            self.valid[rows],
            None if self.target is None else self.target[rows],
            None if self.reference is None else self.reference[rows],
            None if self.sample_ids is None else self.sample_ids[rows],
            self.seed,
        )


@torch.no_grad()
def embed_batch(
    model: Classifier, batch: Batch, target: Tensor | None, reference: Batch | None, seed: int
) -> EmbeddedBatch:
    """Embed a batch; InputError if target, reference or ids do not match it."""
    tokens = model.embedding(batch)
    size, device = len(tokens.values), tokens.values.device
    removed = None
    if reference is not None:
        removed = model.embedding(reference).values
        if removed.shape != tokens.values.shape:
            raise InputError(
                f"The reference gives tokens {list(removed.shape)} and the batch "
                f"{list(tokens.values.shape)}; it must be the same batch with its tokens removed."
            )
    sample_ids = batch.get("sample_id")
    if sample_ids is not None and len(sample_ids) != size:
        raise InputError(f'"sample_id" has {len(sample_ids)} ids for {size} samples.')
    if target is not None:
        _check_target(target, size, model.head.out_features)
        target = target.to(device, torch.long)
    valid = model.token_layout(batch).valid.to(device)
    return EmbeddedBatch(tokens, valid, target, removed, sample_ids, seed)


def _check_target(target: Tensor, size: int, num_classes: int) -> None:
    if target.shape != (size,) or target.is_floating_point() or target.dtype == torch.bool:
        raise InputError(
            f"target is {list(target.shape)} of {target.dtype}; it must be one class for each of "
            f"the {size} samples, int64 [{size}]."
        )
    if bool(((target < 0) | (target >= num_classes)).any()):
        raise InputError(
            f"target has a class that the model does not have; its classes are 0 to "
            f"{num_classes - 1}."
        )
