"""Statistics: numbers computed from whole maps without keeping them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def entropy(rows: Tensor) -> Tensor:
    """Return the entropy of each row in nats: [..., Q, K] to [..., Q].

    It is 0 where all weight is on one key, log(K) where the weights are equal, and 0 by convention
    for a fully masked row.
    """
    row_entropy: Tensor = torch.special.entr(rows).sum(-1)
    return row_entropy


ROW_STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {"entropy": entropy}
