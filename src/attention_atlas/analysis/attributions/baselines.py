"""Baselines that an attribution must beat: random and uniform."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attention_atlas.analysis.attributions.recorded_pass import Recorded, mean_weights
from attention_atlas.data.splits import stable_hash
from attention_atlas.errors import InputError


def random(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return numbers from 0 to 1, drawn for each token of the input, divided by their sum.

    They depend on the seed and the sample's id only, and so are the same in any batch. A CLS token
    is not part of the input and has 0.
    """
    if recorded.batch.sample_ids is None:
        raise InputError(
            'random draws by the sample: the batch needs a list of ids under "sample_id".'
        )
    drawn = np.zeros(recorded.valid.shape)
    shown = _input_tokens(recorded).cpu().numpy()
    for row, columns, sample_id in zip(drawn, shown, recorded.batch.sample_ids, strict=True):
        draw = np.random.default_rng(stable_hash("attribution", recorded.batch.seed, sample_id))
        row[columns] = draw.random(columns.sum())
    weights = torch.from_numpy(drawn).to(recorded.valid.device)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def uniform(recorded: Recorded) -> Float[Tensor, "batch tokens"]:
    """Return 1/n for each of the n tokens of the input. A CLS token has 0."""
    return mean_weights(_input_tokens(recorded))


def _input_tokens(recorded: Recorded) -> Bool[Tensor, "batch tokens"]:
    """Return which valid tokens are part of the input."""
    shown = recorded.valid.clone()
    shown[:, : shown.shape[1] - recorded.batch.tokens.values.shape[1]] = False
    return shown
