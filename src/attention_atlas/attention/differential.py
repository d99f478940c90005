"""Differential attention: the difference of two maps cancels what both attend to.

Source: Ye et al. 2024 (arXiv 2410.05258), equations 1 to 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attention_atlas.attention.kernels import widen

# For deep layers; the paper also tried it in all layers alike, with about the same loss.
LAMBDA_INIT = 0.8


class Differential(nn.Module):
    """The learned parameters of differential attention: lambda, and the norm of each output.

    A head's queries and keys are split into halves of width E/2, its values are not:
    A = softmax(Q1 K1') - lambda * softmax(Q2 K2'), and lambda = exp(q1.k1) - exp(q2.k2) + 0.8 from
    four learned vectors [E/2].
    """

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.lambda_query_1, self.lambda_key_1, self.lambda_query_2, self.lambda_key_2 = (
            nn.Parameter(nn.init.normal_(torch.empty(head_width // 2), std=0.1)) for _ in range(4)
        )
        self.norm = nn.RMSNorm(head_width, eps=1e-5)

    def weight(self) -> Float[Tensor, ""]:
        """Return lambda, a scalar in float32 or wider."""
        first = (widen(self.lambda_query_1) * widen(self.lambda_key_1)).sum()
        second = (widen(self.lambda_query_2) * widen(self.lambda_key_2)).sum()
        return first.exp() - second.exp() + LAMBDA_INIT

    def normalise(self, heads: Float[Tensor, "*size width"]) -> Float[Tensor, "*size width"]:
        """Normalise the outputs of the heads; scale them by 1 minus the initial lambda."""
        normal: Tensor = self.norm(heads)
        return normal * (1 - LAMBDA_INIT)


def halves(
    heads: Float[Tensor, "*size width"],
) -> tuple[Float[Tensor, "*size half_width"], Float[Tensor, "*size half_width"]]:
    """Split the width of queries or keys into two equal parts."""
    first, second = heads.chunk(2, dim=-1)
    return first, second
