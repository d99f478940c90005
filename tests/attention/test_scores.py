"""Each score against its formula, written out in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attention_atlas.attention import (
    SCORES,
    Additive,
    ProductScore,
    attend,
    attention_map,
    build_score,
)

BATCH, HEADS, QUERIES, KEYS, WIDTH = 2, 2, 19, 7, 3  # more queries than one chunk holds
PRODUCT_SCORES = ["dot", "scaled_dot", "cosine", "multiplicative"]


def score_of(name: str) -> torch.nn.Module:
    score = build_score(name, HEADS, WIDTH).double()
    for parameter in score.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return score


def formula(name: str, score: torch.nn.Module, h: int, q: Tensor, k: Tensor) -> Tensor:
    """The score of one query q [E] and one key k [E] in head h, from the papers."""
    if name == "dot":
        return sum(q[e] * k[e] for e in range(WIDTH))
    if name == "scaled_dot":
        return sum(q[e] * k[e] for e in range(WIDTH)) / WIDTH**0.5
    if name == "cosine":
        product = sum(q[e] * k[e] for e in range(WIDTH))
        lengths = (q**2).sum().sqrt() * (k**2).sum().sqrt()
        return score.log_tau[h].exp() * product / lengths
    if name == "multiplicative":
        return sum(q[e] * score.matrix[h, e, f] * k[f] for e in range(WIDTH) for f in range(WIDTH))
    return sum(score.vector[h, e] * torch.tanh(q[e] + k[e]) for e in range(WIDTH))


def written_logits(name: str, score: torch.nn.Module, query: Tensor, key: Tensor) -> Tensor:
    rows = [
        torch.stack([formula(name, score, h, q, k) for k in key[b, h]])
        for b in range(BATCH)
        for h in range(HEADS)
        for q in query[b, h]
    ]
    return torch.stack(rows).view(BATCH, HEADS, query.shape[2], key.shape[2])


def inputs(value_width: int = WIDTH) -> tuple[Tensor, Tensor, Tensor]:
    query = torch.randn(BATCH, HEADS, QUERIES, WIDTH, dtype=torch.float64, requires_grad=True)
    key = torch.randn(BATCH, HEADS, KEYS, WIDTH, dtype=torch.float64, requires_grad=True)
    value = torch.randn(BATCH, HEADS, KEYS, value_width, dtype=torch.float64, requires_grad=True)
    return query, key, value


@pytest.mark.parametrize("name", SCORES)
def test_logits_are_the_formula(name: str) -> None:
    score = score_of(name)
    query, key, _ = inputs()
    torch.testing.assert_close(
        score.logits(query, key), written_logits(name, score, query, key), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("name", PRODUCT_SCORES)
def test_transform_gives_the_logits_as_a_scaled_product(name: str) -> None:
    score = score_of(name)
    assert isinstance(score, ProductScore)
    query, key, _ = inputs()
    new_query, new_key, scale = score.transform(query, key)
    torch.testing.assert_close(
        scale * new_query @ new_key.mT, score.logits(query, key), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("value_width", [WIDTH, 2])
def test_values_and_gradients_are_those_of_the_formula(name: str, value_width: int) -> None:
    score = score_of(name)
    query, key, value = inputs(value_width)
    leaves = [query, key, value, *score.parameters()]
    expected = written_logits(name, score, query, key).softmax(-1) @ value
    upstream = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, leaves, upstream)
    output = attend(score, query, key, value)
    gradients = torch.autograd.grad(output, leaves, upstream)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_values_and_gradients_under_every_mask(
    name: str,
    masks: Callable[..., dict[str, Tensor]],
    written_bias: Callable[..., Tensor],
) -> None:
    score = score_of(name)
    query, key, value = inputs()
    given = masks(BATCH, HEADS, QUERIES, KEYS)
    bias = written_bias(BATCH, HEADS, QUERIES, KEYS, **given)
    leaves = [query, key, value, *score.parameters()]
    weights = (score.logits(query, key) + bias).softmax(-1)
    expected = weights @ value
    upstream = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, leaves, upstream)
    output = attend(score, query, key, value, **given)
    gradients = torch.autograd.grad(output, leaves, upstream)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        attention_map(score, query, key, **given), weights, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("is_causal", [False, True])
def test_gradcheck(name: str, is_causal: bool) -> None:
    score = build_score(name, 1, 2).double()
    query, key, value = (
        torch.randn(1, 1, length, 2, dtype=torch.float64, requires_grad=True)
        for length in (17, 3, 3)
    )

    def function(*arguments: Tensor) -> Tensor:
        return attend(score, *arguments[:3], is_causal=is_causal)

    assert torch.autograd.gradcheck(function, (query, key, value, *score.parameters()))


@pytest.mark.parametrize("name", ["scaled_dot", "additive"])
@pytest.mark.parametrize("shape", [(17, 3), (2, 17, 3), (1, 2, 17, 3), (2, 1, 17, 3)])
def test_gradcheck_of_a_learned_mask(name: str, shape: tuple[int, ...]) -> None:
    score = build_score(name, 2, 2).double()
    batch = 2 if len(shape) == 4 else 1
    query, key, value = (
        torch.randn(batch, 2, length, 2, dtype=torch.float64) for length in (17, 3, 3)
    )
    mask = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda mask: attend(score, query, key, value, attn_mask=mask), (mask,), fast_mode=True
    )


def test_gradcheck_of_a_learned_padding_bias() -> None:
    score = build_score("additive", 2, 2).double()
    query, key, value = (torch.randn(2, 2, n, 2, dtype=torch.float64) for n in (17, 3, 3))
    bias = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda bias: attend(score, query, key, value, key_padding_mask=bias), (bias,)
    )


@pytest.mark.parametrize("size", [0.1, 10.0, 39.0, 60.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_additive_holds_for_large_numbers(size: float, dtype: torch.dtype) -> None:
    """Where exponentials would overflow another way of computing takes over."""
    score = Additive(HEADS, WIDTH).to(dtype)
    query, key, value = (tensor.detach() for tensor in inputs())
    query, key = query * size, key * size - size
    leaves = [tensor.to(dtype).requires_grad_() for tensor in (query, key, value)]
    exact = [tensor.detach().double().requires_grad_() for tensor in leaves]
    wide = Additive(HEADS, WIDTH).double()
    wide.load_state_dict({"vector": score.vector.double()})
    expected = wide.logits(exact[0], exact[1]).softmax(-1) @ exact[2]
    output = attend(score, *leaves)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=tolerance)
    gradients = torch.autograd.grad(output.sum(), leaves)
    for gradient, correct in zip(
        gradients, torch.autograd.grad(expected.sum(), exact), strict=True
    ):
        torch.testing.assert_close(gradient.double(), correct, rtol=0, atol=5 * tolerance)


def test_additive_drops_the_same_weights_in_both_directions() -> None:
    """Dropout is linear in the values: the gradient shows which weights the output used."""
    score = score_of("additive")
    query, key, _ = inputs()
    value = torch.eye(KEYS, dtype=torch.float64).expand(BATCH, HEADS, KEYS, KEYS)
    torch.manual_seed(5)
    dropped = attend(score, query, key, value, dropout_p=0.4)
    weights = attention_map(score, query, key)
    kept = dropped != 0
    assert 0.5 < kept.double().mean() < 0.7
    torch.testing.assert_close(dropped, weights * kept / 0.6, rtol=1e-12, atol=1e-12)

    upstream = torch.randn_like(dropped)
    leaves = [query, key, score.vector]
    expected = torch.autograd.grad(weights * kept / 0.6, leaves, upstream)
    gradients = torch.autograd.grad(dropped, leaves, upstream)
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)

    _, _, value = inputs()
    torch.manual_seed(5)
    output = attend(score, query, key, value, dropout_p=0.4)
    (gradient,) = torch.autograd.grad(output.sum(), value)
    column_sums = (weights * kept / 0.6).sum(2)
    torch.testing.assert_close(gradient[..., 0], column_sums, rtol=1e-12, atol=1e-12)


def test_additive_dropout_can_be_repeated_and_draws_again() -> None:
    score = score_of("additive")
    query, key, value = inputs()
    torch.manual_seed(1)
    first = attend(score, query, key, value, dropout_p=0.5)
    second = attend(score, query, key, value, dropout_p=0.5)
    torch.manual_seed(1)
    assert torch.equal(first, attend(score, query, key, value, dropout_p=0.5))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(name: str, dtype: torch.dtype, device: str) -> None:
    score = score_of(name).to(dtype).to(device)
    leaves = [tensor.detach().to(device, dtype).requires_grad_() for tensor in inputs()]
    wide_leaves = [tensor.detach().double() for tensor in leaves]
    wide = score_of(name).to(device)
    wide.load_state_dict(score.state_dict())
    output = attend(score, *leaves)
    assert output.dtype == dtype
    expected = attend(wide, *wide_leaves)
    torch.testing.assert_close(output.double(), expected, rtol=0.05, atol=0.05)
    output.float().sum().backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_cosine_of_zero_vectors_is_zero(dtype: torch.dtype) -> None:
    score = build_score("cosine", HEADS, WIDTH).to(dtype)
    query = torch.zeros(1, HEADS, 2, WIDTH, dtype=dtype, requires_grad=True)
    value = torch.randn(1, HEADS, 4, WIDTH, dtype=dtype)
    output = attend(score, query, value, value)
    torch.testing.assert_close(output, value.mean(2, keepdim=True).expand(-1, -1, 2, -1))
    output.sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_long_vectors_in_half_precision_keep_their_cosine() -> None:
    score = build_score("cosine", HEADS, WIDTH).half()
    query = torch.full((1, HEADS, 1, WIDTH), 3e4, dtype=torch.float16)
    value = torch.randn(1, HEADS, 4, WIDTH, dtype=torch.float16)
    assert attend(score, query, value, value).isfinite().all()


def test_an_unknown_score_is_answered_with_the_closest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'scaled_dot'"):
        build_score("scaled_dott", 1, 2)
    with pytest.raises(ValueError, match="the scores are dot, scaled_dot, cosine"):
        build_score("xyz", 1, 2)
