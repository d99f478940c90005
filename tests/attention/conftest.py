"""Masks of every kind, and the formula of attention written out."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


MASK_KINDS = [
    "none",
    "padding",
    "float_padding",
    "boolean_2d",
    "boolean_3d",
    "boolean_4d",
    "float_2d",
    "float_3d",
    "causal",
    "causal_padding",
    "causal_float",
    "boolean_padding",
    "float_and_padding",
]


@pytest.fixture(params=MASK_KINDS)
def masks(request: pytest.FixtureRequest) -> Callable[[int, int, int, int], dict[str, object]]:
    """Makes the mask arguments of one kind for B, H, Q, K; no row is fully masked."""

    def make(batch: int, heads: int, queries: int, keys: int) -> dict[str, object]:
        padding = torch.zeros(batch, keys, dtype=torch.bool)
        padding[0, keys - 2 :] = True
        boolean = torch.rand(batch, heads, queries, keys) > 0.6
        boolean[..., 0] = False
        bias = torch.randn(batch, heads, queries, keys, dtype=torch.float64)
        kinds: dict[str, dict[str, object]] = {
            "none": {},
            "padding": {"key_padding_mask": padding},
            "float_padding": {"key_padding_mask": bias[:, 0, 0]},
            "boolean_2d": {"attn_mask": boolean[0, 0]},
            "boolean_3d": {"attn_mask": boolean.flatten(0, 1)},
            "boolean_4d": {"attn_mask": boolean},
            "float_2d": {"attn_mask": bias[0, 0]},
            "float_3d": {"attn_mask": bias.flatten(0, 1)},
            "causal": {"is_causal": True},
            "causal_padding": {"is_causal": True, "key_padding_mask": padding},
            "causal_float": {"is_causal": True, "attn_mask": bias[0, 0]},
            "boolean_padding": {"attn_mask": boolean, "key_padding_mask": padding},
            "float_and_padding": {"attn_mask": bias, "key_padding_mask": padding},
        }
        return kinds[request.param]

    return make


def bias_of(
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """The masks as one number per score, [B, H, Q, K], filled in one by one."""
    bias = torch.zeros(batch, heads, queries, keys, dtype=torch.float64)

    def put(index: tuple[int, ...], mask_value: Tensor) -> None:
        if mask_value.dtype == torch.bool:
            bias[index] += -torch.inf if bool(mask_value) else 0.0
        else:
            bias[index] += mask_value.item()

    for b in range(batch):
        for h in range(heads):
            for i in range(queries):
                for j in range(keys):
                    if key_padding_mask is not None:
                        put((b, h, i, j), key_padding_mask[b, j])
                    if attn_mask is not None and attn_mask.dim() == 2:
                        put((b, h, i, j), attn_mask[i, j])
                    if attn_mask is not None and attn_mask.dim() == 3:
                        put((b, h, i, j), attn_mask[b * heads + h, i, j])
                    if attn_mask is not None and attn_mask.dim() == 4:
                        put((b, h, i, j), attn_mask[b, h, i, j])
                    if is_causal and j > i:
                        bias[b, h, i, j] = -torch.inf
    return bias


@pytest.fixture
def written_bias() -> Callable[..., Tensor]:
    return bias_of
