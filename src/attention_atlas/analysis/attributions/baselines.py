"""What an attribution must beat: chance, and no opinion."""

import numpy as np
import torch
from torch import Tensor

from attention_atlas.analysis.attributions.recorded_pass import Recorded, mean_weights
from attention_atlas.data.splits import stable_hash
from attention_atlas.errors import InputError


def random(recorded: Recorded) -> Tensor:
    """Numbers from 0 to 1, drawn for each token of the input, divided by their sum: [B, K].

    They follow from the seed and the sample's id, and so are the same in any batch. A CLS token is
    no part of the input and has 0.
    """
    if recorded.question.sample_ids is None:
        raise InputError(
            'random draws by the sample: the batch needs a list of ids under "sample_id".'
        )
    drawn = np.zeros(recorded.valid.shape)
    shown = _input_tokens(recorded).cpu().numpy()
    for row, places, sample_id in zip(drawn, shown, recorded.question.sample_ids, strict=True):
        draw = np.random.default_rng(stable_hash("attribution", recorded.question.seed, sample_id))
        row[places] = draw.random(places.sum())
    weights = torch.from_numpy(drawn).to(recorded.valid.device)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def uniform(recorded: Recorded) -> Tensor:
    """1/n for each of the n tokens of the input: [B, K]. A CLS token has 0."""
    return mean_weights(_input_tokens(recorded))


def _input_tokens(recorded: Recorded) -> Tensor:
    """[B, K], True for the valid tokens that stand for a part of the input."""
    shown = recorded.valid.clone()
    shown[:, : shown.shape[1] - recorded.question.tokens.values.shape[1]] = False
    return shown
