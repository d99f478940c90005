"""Batches of texts: padding, random windows, word dropout and special tokens."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.text.corpora import TextCorpus
from attention_atlas.data.text.tokenizer import MASK, PAD, EncodedTexts, SpecialTokens


class TextDataset(BatchDataset):
    """The samples of one split.

    Args:
        corpus: Texts of all splits.
        encoded: The tokens of all texts of the corpus.
        indexes: Indexes of the texts of the split.
        max_length: Tokens after which a text is cut; None cuts none.
        pooled_length: Tokens after which a text counts as long, for batches of like length.
        with_texts: Whether batches carry the texts and the character spans of their tokens.
        pad: Token id that fills up a batch.
    """

    def __init__(
        self,
        corpus: TextCorpus,
        encoded: EncodedTexts,
        indexes: Sequence[int],
        max_length: int | None,
        pooled_length: int,
        with_texts: bool,
        pad: int = PAD,
    ) -> None:
        self.encoded = encoded
        self.indexes = np.asarray(indexes, dtype=np.int64)
        lengths = encoded.lengths[self.indexes]
        super().__init__(
            [corpus.labels[index] for index in indexes],
            [corpus.sample_ids[index] for index in indexes],
            {name: [values[index] for index in indexes] for name, values in corpus.groups.items()},
            np.minimum(lengths, pooled_length).tolist(),
        )
        self.num_tokens = lengths if max_length is None else np.minimum(lengths, max_length)
        self.texts = [corpus.texts[index] for index in indexes]
        self.with_texts = with_texts
        self.pad = pad

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return a batch, padded to its longest text."""
        lengths = self.num_tokens[indices]
        steps = np.arange(lengths.max())
        valid = steps < lengths[:, None]
        tokens = np.where(valid, self.encoded.starts[self.indexes[indices]][:, None] + steps, 0)
        ids = np.where(valid, self.encoded.ids[tokens], self.pad)
        batch = self.targets(indices) | {
            "inputs": torch.from_numpy(ids.astype(np.int64)),
            "lengths": torch.from_numpy(lengths.astype(np.int64)),
        }
        if self.with_texts:
            spans = np.where(valid[:, :, None], self.encoded.spans[tokens], 0)
            batch["spans"] = torch.from_numpy(spans.astype(np.int64))
            batch["text"] = [self.texts[index] for index in indices]
        return batch


def random_windows(
    ids: Tensor, lengths: Tensor, size: int, pad: int = PAD
) -> tuple[Tensor, Tensor]:
    """Crop each text to a window of at most `size` tokens, at a uniformly random start.

    Ids [B, K] and valid lengths [B] become ids [B, K'], filled up with `pad`, and lengths [B].
    """
    cropped = lengths.clamp(max=size)
    choices = lengths - cropped + 1
    starts = (torch.rand(len(ids)).to(ids.device) * choices).long()
    steps = torch.arange(int(cropped.max()), device=ids.device)
    indexes = (starts[:, None] + steps).clamp(max=ids.shape[1] - 1)
    return ids.gather(1, indexes).masked_fill(steps >= cropped[:, None], pad), cropped


def drop_words(ids: Tensor, lengths: Tensor, rate: float, mask: int = MASK) -> Tensor:
    """Replace a fraction of the valid tokens by [MASK]; ids [B, K], valid `lengths` [B]."""
    dropped = (torch.rand(ids.shape) < rate).to(ids.device)
    valid = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    return ids.masked_fill(dropped & valid, mask)


def add_special_tokens(batch: Batch, special: SpecialTokens) -> Batch:
    """Put the special tokens before and behind each text, with empty character spans."""
    before, after = len(special.before), len(special.after)
    if before + after == 0:
        return batch
    ids, lengths = batch["inputs"], batch["lengths"]
    inner = torch.nn.functional.pad(ids, (before, after), value=special.pad)
    inner[:, :before] = ids.new_tensor(special.before)
    behind = before + lengths[:, None] + torch.arange(after, device=ids.device)
    inner.scatter_(1, behind, ids.new_tensor(special.after).expand(len(ids), -1))
    changed = {"inputs": inner, "lengths": lengths + before + after}
    if "spans" in batch:
        changed["spans"] = torch.nn.functional.pad(batch["spans"], (0, 0, before, after))
    return batch | changed
