"""Linear attention with a learned feature map (Hedgehog; Zhang et al. 2024, arXiv 2402.04347)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_atlas.attention.kernels import repeat_heads, widen
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.scores import Logits, Score
from attention_atlas.attention.shapes import Keys, Map, Outputs, Queries, Values

MIN_FEATURE = 1e-12  # no product of features is zero, so no row is without a key


class Hedgehog(Score):
    """log(phi(q).phi(k)), so that the softmax is phi(q).phi(k) over its sum.

    phi(x) = [softmax(Wx), softmax(-Wx)], with one W for queries and one for keys, learned per head
    and initialised to the identity: `query_weight` and `key_weight` [H, E, E]. Products with values
    can be summed over the keys first, so `attend` costs O(K) where the softmax of other scores
    costs O(QK).
    """

    def __init__(self, num_heads: int, head_width: int) -> None:
        super().__init__()
        start = torch.eye(head_width).repeat(num_heads, 1, 1)
        self.query_weight = nn.Parameter(start)
        self.key_weight = nn.Parameter(start.clone())

    def logits(self, query: Queries, key: Keys) -> Map:
        """Return log(phi(q).phi(k))."""
        return (self._query_features(query) @ self._key_features(key).mT).log()

    def blocks(self, query: Queries, key: Keys) -> Logits:
        """Compute the features once; see `Score.blocks`."""
        query, key = self._query_features(query), self._key_features(key)

        def block(samples: slice, rows: slice, keys: slice) -> Tensor:
            return (query[samples, :, rows] @ key[samples, :, keys].mT).log()

        return block

    def attend(
        self, query: Queries, key: Keys, value: Values, mask: Mask, dropout_p: float = 0.0
    ) -> Outputs:
        """Sum over the keys first: phi(q)(phi(k)'V) over phi(q)(phi(k)'1); see `Score.attend`.

        The sums are computed in float32 or wider. Raises ValueError for dropout of the weights,
        which are never computed, and for masks that add to scores or differ from query to query.
        """
        _check_linear(mask, dropout_p)
        key, value = repeat_heads(key, query.shape[1]), repeat_heads(value, query.shape[1])
        with torch.autocast(query.device.type, enabled=False):
            features = self._key_features(key)
            if mask.tensor is not None:
                features = features * mask.tensor.mT  # 0 where a key is hidden
            sums = features.mT @ value.to(features.dtype)  # [B, H, 2E, Ev]
            totals = features.sum(dim=2).unsqueeze(-1)  # [B, H, 2E, 1]
            query_features = self._query_features(query)
            total = query_features @ totals
            # A fully masked row has sums of zero.
            heads = (query_features @ sums) / total.masked_fill(total == 0, 1)
        return heads.to(value.dtype)

    def _query_features(self, query: Tensor) -> Tensor:
        return _features(query, self.query_weight)

    def _key_features(self, key: Tensor) -> Tensor:
        return _features(key, self.key_weight)


def _features(heads: Tensor, weight: Tensor) -> Tensor:
    """Map [B, H, K, E] to features [B, H, K, 2E], float32 or wider."""
    projected = widen(heads) @ widen(weight)
    features = torch.cat([projected.softmax(-1), (-projected).softmax(-1)], dim=-1)
    return features.clamp_min(MIN_FEATURE)


def _check_linear(mask: Mask, dropout_p: float) -> None:
    if dropout_p > 0:
        raise ValueError("Linear attention never computes the weights; set its dropout to 0.")
    tensor = mask.tensor
    differs = tensor is not None and (tensor.shape[2] > 1 or tensor.dtype != torch.bool)
    if mask.is_causal or mask.null_key or differs:
        raise ValueError(
            "Linear attention sums over the keys once for all queries; it takes a boolean "
            "key_padding_mask, but no attn_mask, is_causal or null_key."
        )
