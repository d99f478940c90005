"""The test run checks tensors against the shapes in the signatures."""

import jaxtyping
import pytest
import torch

from attention_atlas.attention import ScaledDot, attend
from attention_atlas.attention.masks import fully_masked


def test_a_wrong_shape_is_refused() -> None:
    query, key = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 7, 8)
    assert attend(ScaledDot(), query, key, key).shape == query.shape
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'value'"):
        attend(ScaledDot(), query, key, key[:, :, 1:])
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'query'"):
        attend(ScaledDot(), query[0], key, key)
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'mask'"):
        fully_masked([[True, False]])
