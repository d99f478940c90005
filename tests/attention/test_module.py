"""The module: the same as `nn.MultiheadAttention` where that exists, and beyond."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attention_atlas.attention import SCORES, Attention, Cosine, attend, record
from attention_atlas.attention.masks import fully_masked
from tests.attention.largest_tensor import LargestTensor

BATCH, HEADS, WIDTH = 2, 4, 16


def tokens(length: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(BATCH, length, WIDTH, dtype=dtype)


def inputs_of(setting: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    query = tokens(5)
    if setting == "self":
        return query, None, None
    if setting == "self_spelled_out":
        return query, query, query
    if setting == "cross":
        return query, tokens(7), None
    return query, (key := tokens(7)), torch.randn_like(key)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("setting", ["self", "self_spelled_out", "cross", "cross_with_values"])
def test_matches_multihead_attention(
    setting: str, bias: bool, masks: Callable[..., dict[str, Any]]
) -> None:
    original = nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True).double()
    if bias:
        nn.init.normal_(original.in_proj_bias)
        nn.init.normal_(original.out_proj.bias)
    attention = Attention(WIDTH, HEADS, bias=bias).double()
    attention.load_state_dict(original.state_dict())

    query, key, value = inputs_of(setting)
    full_key = query if key is None else key
    full_value = full_key if value is None else value
    masks_given = masks(BATCH, HEADS, query.shape[1], full_key.shape[1])
    theirs = {name: mask for name, mask in masks_given.items() if name != "is_causal"}
    if theirs.get("attn_mask") is not None and theirs["attn_mask"].dim() == 4:
        theirs["attn_mask"] = theirs["attn_mask"].flatten(0, 1)
    if masks_given.get("is_causal"):
        hidden = torch.ones(query.shape[1], full_key.shape[1], dtype=torch.bool).triu(1)
        if "attn_mask" in theirs:
            theirs["attn_mask"] = theirs["attn_mask"].masked_fill(hidden, -torch.inf)
        else:
            theirs["attn_mask"] = hidden

    leaf, other_leaf = query.clone().requires_grad_(), query.clone().requires_grad_()
    expected, weights = original(
        other_leaf,
        other_leaf if full_key is query else full_key,
        other_leaf if full_value is query else full_value,
        **theirs,
        average_attn_weights=False,
    )
    with record(attention) as recording:
        spelled_out = setting == "self_spelled_out"
        output = attention(
            leaf, leaf if spelled_out else key, leaf if spelled_out else value, **masks_given
        )
    map_ = recording.maps["attention"]
    torch.testing.assert_close(output, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(map_, weights, rtol=1e-11, atol=1e-12)

    averaged = original(query, full_key, full_value, **theirs)[1]
    torch.testing.assert_close(map_.mean(1), averaged, rtol=1e-11, atol=1e-12)

    upstream = torch.randn_like(output)
    gradients = torch.autograd.grad(output, [leaf, *attention.parameters()], upstream)
    expected_gradients = torch.autograd.grad(
        expected, [other_leaf, *original.parameters()], upstream
    )
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("num_kv_heads", [1, 2])
def test_grouped_queries_are_repeated_keys_and_values(score: str, num_kv_heads: int) -> None:
    grouped = Attention(WIDTH, HEADS, score=score, num_kv_heads=num_kv_heads).double()
    full = Attention(WIDTH, HEADS, score=score).double()
    query, key, value = (
        part.unflatten(0, (-1, WIDTH // HEADS))
        for part in grouped.in_proj_weight.split([WIDTH, grouped.kv_width, grouped.kv_width])
    )
    repeats = HEADS // num_kv_heads
    packed = torch.cat([query, *(x.repeat_interleave(repeats, 0) for x in (key, value))])
    state = grouped.state_dict()
    state["in_proj_weight"] = packed.flatten(0, 1)
    state["in_proj_bias"] = torch.zeros(3 * WIDTH, dtype=torch.float64)
    full.load_state_dict(state)
    x = tokens(19)
    padding = torch.zeros(BATCH, 19, dtype=torch.bool)
    padding[1, 10:] = True
    both = nn.ModuleList([grouped, full])
    with record(both) as recording:
        outputs = [module(x, key_padding_mask=padding) for module in both]
    torch.testing.assert_close(*outputs, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(*recording.maps.values(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("queries", [3, 9])
def test_causal_is_top_left_aligned(score: str, queries: int) -> None:
    attention = Attention(WIDTH, HEADS, score=score).double()
    key = tokens(6)
    padding = torch.zeros(BATCH, 6, dtype=torch.bool)
    padding[0, 4:] = True
    with record(attention) as recording:
        attention(tokens(queries), key, is_causal=True)
        attention(tokens(queries), key, is_causal=True, key_padding_mask=padding)
    alone, padded = (call.map for call in recording.calls["attention"])
    visible = torch.ones(queries, 6, dtype=torch.bool).tril()
    assert torch.equal(alone > 0, visible.expand_as(alone))
    visible = visible & ~padding[:, None, None, :]
    assert torch.equal(padded > 0, visible.expand_as(padded))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("kind", ["padding", "boolean", "float", "lowest_float"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_fully_masked_rows(score: str, kind: str, dtype: torch.dtype, device: str) -> None:
    attention = Attention(WIDTH, HEADS, score=score).to(device, dtype)
    nn.init.normal_(attention.out_proj.bias)
    x = tokens(18, dtype).to(device).requires_grad_()
    dead = torch.zeros(BATCH, 18, dtype=torch.bool, device=device)
    if kind == "padding":
        dead[1] = True
        given: dict[str, Tensor] = {"key_padding_mask": dead}
    else:
        dead[0, [2, 17]] = True
        hidden = (torch.rand(BATCH, 1, 18, 18, device=device) > 0.5) & ~torch.eye(
            18, dtype=torch.bool, device=device
        )
        hidden = (hidden | dead[:, None, :, None]).expand(-1, HEADS, -1, -1)
        given = {"attn_mask": hidden}
        if kind == "float":
            given = {"attn_mask": torch.zeros(hidden.shape, device=device)}
            given["attn_mask"].masked_fill_(hidden, -torch.inf)
    if kind == "lowest_float":
        # Finite, so the row is not fully masked: it must stay usable, not be zero.
        lowest = torch.finfo(dtype).min
        given = {"attn_mask": torch.zeros(hidden.shape, device=device, dtype=dtype)}
        given["attn_mask"].masked_fill_(hidden, lowest)
    with record(attention, statistics=["entropy"]) as recording:
        output = attention(x, **given)
    output.float().sum().backward()
    map_ = recording.maps["attention"]
    assert output.isfinite().all()
    assert map_.isfinite().all()
    assert recording.statistics["entropy"]["attention"].isfinite().all()
    for parameter in [x, *attention.parameters()]:
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    sums = map_.sum(-1).double()
    if kind == "lowest_float":
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-5)
        return
    expected = (~dead).double()[:, None].expand_as(sums)
    torch.testing.assert_close(sums, expected, rtol=0, atol=1e-5)
    assert torch.equal(output[dead], attention.out_proj.bias.expand_as(output[dead]))


def test_rows_that_other_devices_get_opened_and_zeroed() -> None:
    """What keeps a kernel without zero rows safe, run on the CPU beside the CPU kernel itself."""
    query, key = torch.randn(1, 1, 3, 4), torch.randn(1, 1, 5, 4)
    kept = torch.rand(1, 1, 3, 5) > 0.4
    kept[..., 0], kept[0, 0, 1] = True, False
    bias = torch.zeros(1, 1, 3, 5).masked_fill(~kept, -torch.inf)
    expected = F.scaled_dot_product_attention(query, key, key, attn_mask=kept)
    for mask in (kept, bias):
        dead = fully_masked(mask)
        assert dead.flatten().tolist() == [False, True, False]
        opened = mask.masked_fill(dead, mask.dtype == torch.bool)
        assert not fully_masked(opened).any()
        output = F.scaled_dot_product_attention(query, key, key, attn_mask=opened)
        torch.testing.assert_close(output.masked_fill(dead, 0), expected)


FUSED = F.scaled_dot_product_attention


class _FusedCalls(TorchFunctionMode):
    def __init__(self) -> None:
        self.arguments: list[dict[str, Any]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is FUSED:  # while a model is recorded, the name leads elsewhere
            self.arguments.append(kwargs)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("score", [name for name in SCORES if name != "additive"])
@pytest.mark.parametrize("recorded", [False, True])
def test_product_scores_are_one_fused_call(
    score: str, recorded: bool, masks: Callable[..., dict[str, Any]]
) -> None:
    attention = Attention(WIDTH, HEADS, score=score).double()
    with _FusedCalls() as calls:
        if recorded:
            with record(attention) as recording:
                attention(tokens(5), **masks(BATCH, HEADS, 5, 5))
            assert recording.maps["attention"].shape == (BATCH, HEADS, 5, 5)
        else:
            attention(tokens(5), **masks(BATCH, HEADS, 5, 5))
    assert len(calls.arguments) == 1


def test_no_mask_tensor_when_none_is_needed() -> None:
    attention = Attention(WIDTH, HEADS).double()
    with _FusedCalls() as calls:
        attention(tokens(5))
        attention(tokens(5), is_causal=True)
    assert [call["attn_mask"] for call in calls.arguments] == [None, None]
    assert [call["is_causal"] for call in calls.arguments] == [False, True]


@pytest.mark.parametrize("masked", [False, True])
def test_additive_never_makes_a_query_key_width_tensor(masked: bool, device: str) -> None:
    length, head_width = 160, 32
    attention = Attention(2 * head_width, 2, score="additive", dropout=0.1).to(device)
    x = torch.randn(3, length, 2 * head_width, device=device, requires_grad=True)
    padding = torch.zeros(3, length, dtype=torch.bool, device=device)
    padding[0, 100:] = True
    with LargestTensor() as largest:
        attention(x, key_padding_mask=padding if masked else None).sum().backward()
    assert largest.numbers <= 3 * 2 * 16 * length * head_width
    assert largest.numbers < length * length * head_width
    # On a CPU a chunk fits the cache, however many samples there are.
    if device == "cpu":
        assert largest.numbers <= 2**20
    with LargestTensor() as largest, record(attention, statistics=["entropy"]) as recording:
        attention(x)
    assert recording.statistics["entropy"]["attention"].shape == (3, 2, length)
    assert largest.numbers <= 3 * 2 * 16 * length * head_width


def test_entropy_makes_no_query_key_tensor() -> None:
    attention = Attention(16, 1)
    x = torch.randn(1, 1600, 16)
    with record(attention, statistics=["entropy"]) as recording, torch.no_grad():
        attention(x)
    with LargestTensor() as largest:
        assert recording.statistics["entropy"]["attention"].shape == (1, 1, 1600)
    assert largest.numbers <= 128 * 1600


@contextmanager
def as_training(attention: Attention) -> Iterator[None]:
    attention.train()
    try:
        yield
    finally:
        attention.eval()


@pytest.mark.parametrize("score", SCORES)
def test_dropout_acts_in_training_only(score: str) -> None:
    attention = Attention(WIDTH, HEADS, score=score, dropout=0.5).double().eval()
    plain = Attention(WIDTH, HEADS, score=score).double().eval()
    plain.load_state_dict(attention.state_dict())
    x = tokens(6)
    assert torch.equal(attention(x), plain(x))
    with as_training(attention), record(attention) as recording:
        assert not torch.equal(attention(x), plain(x))
    with record(plain) as without_dropout:
        plain(x)
    assert torch.equal(recording.maps["attention"], without_dropout.maps["attention"])
    with as_training(attention):
        mean = attention(x[:1].expand(3000, -1, -1)).mean(0)
    torch.testing.assert_close(mean, plain(x)[0], rtol=0, atol=0.1)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_goes_through(score: str, dtype: torch.dtype, device: str) -> None:
    attention = Attention(WIDTH, HEADS, score=score).to(device, dtype)
    x = tokens(6, dtype).to(device).requires_grad_()
    with record(attention) as recording:
        output = attention(x, is_causal=True)
    output.float().sum().backward()
    assert output.dtype == dtype
    assert recording.maps["attention"].dtype == max(dtype, torch.float32, key=lambda d: d.itemsize)
    assert all(parameter.grad is not None for parameter in attention.parameters())


@pytest.mark.parametrize("score", SCORES)
def test_autocast(score: str, device: str) -> None:
    attention = Attention(WIDTH, HEADS, score=score).to(device)
    x = tokens(20, torch.float32).to(device)
    plain = attention(x)
    with torch.autocast(device, dtype=torch.bfloat16), record(attention) as recording:
        output = attention(x)
        map_ = recording.maps["attention"]
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), plain, rtol=0.1, atol=0.05)
    assert map_.dtype == torch.float32
    torch.testing.assert_close(map_.sum(-1), torch.ones_like(map_[..., 0]), rtol=0, atol=1e-5)
    output.float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in attention.parameters())


@settings(max_examples=25, deadline=None)
@given(
    score=st.sampled_from(list(SCORES)),
    length=st.integers(1, 20),
    seed=st.integers(0, 10_000),
)
def test_permuting_tokens_permutes_outputs(score: str, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    attention = Attention(WIDTH, HEADS, score=score).double()
    x, order = tokens(length), torch.randperm(length)
    padding = torch.rand(BATCH, length) > 0.7
    with record(attention) as recording:
        output = attention(x, key_padding_mask=padding)
        permuted = attention(x[:, order], key_padding_mask=padding[:, order])
    torch.testing.assert_close(permuted, output[:, order], rtol=1e-10, atol=1e-12)
    first, second = (call.map for call in recording.calls["attention"])
    torch.testing.assert_close(second, first[:, :, order][..., order], rtol=1e-10, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    score=st.sampled_from(list(SCORES)),
    queries=st.integers(1, 20),
    keys=st.integers(1, 20),
    is_causal=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_rows_sum_to_one_over_valid_keys(
    score: str, queries: int, keys: int, is_causal: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    attention = Attention(WIDTH, HEADS, score=score)
    padding = torch.rand(BATCH, keys) > 0.5
    with record(attention, statistics=["entropy"]) as recording:
        attention(
            tokens(queries, torch.float32),
            tokens(keys, torch.float32),
            key_padding_mask=padding,
            is_causal=is_causal,
        )
    map_ = recording.maps["attention"]
    visible = (~padding)[:, None, None].expand(-1, HEADS, queries, -1)
    if is_causal:
        visible = visible.tril()
    torch.testing.assert_close(map_.sum(-1), visible.any(-1).float(), rtol=0, atol=1e-5)
    assert (map_[~visible] == 0).all()
    entropy = recording.statistics["entropy"]["attention"]
    limit = visible.sum(-1).clamp(min=1).log()
    assert ((entropy >= -1e-6) & (entropy <= limit + 1e-5)).all()


@settings(max_examples=20, deadline=None)
@given(score=st.sampled_from(list(SCORES)), seed=st.integers(0, 10_000))
def test_samples_and_padding_do_not_leak(score: str, seed: int) -> None:
    torch.manual_seed(seed)
    attention = Attention(WIDTH, HEADS, score=score).double()
    x = tokens(9)
    padding = torch.zeros(BATCH, 9, dtype=torch.bool)
    padding[0, 6:] = True
    output = attention(x, key_padding_mask=padding)
    torch.testing.assert_close(attention(x[:1, :6]), output[:1, :6], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(attention(x[1:]), output[1:], rtol=1e-10, atol=1e-12)
    changed = x.clone()
    changed[0, 6:] = torch.randn(3, WIDTH, dtype=torch.float64)
    again = attention(changed, key_padding_mask=padding)
    torch.testing.assert_close(again[0, :6], output[0, :6], rtol=1e-10, atol=1e-12)
    assert torch.equal(again[1], output[1])


def test_a_score_instance_is_used_as_it_is() -> None:
    score = Cosine(HEADS)
    assert Attention(WIDTH, HEADS, score=score).score is score
    with pytest.raises(ValueError, match="made for 4 heads, but the attention has 2"):
        Attention(WIDTH, 2, score=score)


def test_empty_batch() -> None:
    for score in SCORES:
        attention = Attention(WIDTH, HEADS, score=score)
        with record(attention) as recording:
            output = attention(torch.randn(0, 5, WIDTH))
        output.sum().backward()
        assert output.shape == (0, 5, WIDTH)
        assert recording.maps["attention"].shape == (0, HEADS, 5, 5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"embed_dim": 10, "num_heads": 4}, "embed_dim=10 cannot be divided into num_heads=4"),
        ({"embed_dim": 8, "num_heads": 0}, "take 1 or more"),
        ({"embed_dim": 8, "num_heads": 4, "num_kv_heads": 3}, "num_kv_heads=3 does not divide"),
        ({"embed_dim": 8, "num_heads": 4, "dropout": 1.0}, "dropout=1.0"),
        ({"embed_dim": 8, "num_heads": 4, "score": "cosin"}, "Did you mean 'cosine'"),
    ],
)
def test_bad_sizes_are_reported(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Attention(**arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"query": torch.ones(2, 5)}, r"query has the shape \(2, 5\)"),
        ({"query": torch.ones(2, 5, 8), "key": torch.ones(2, 5, 9)}, "key has the shape"),
        ({"query": torch.ones(2, 5, 8), "key": torch.ones(3, 5, 8)}, "key has a batch of 3"),
        (
            {
                "query": torch.ones(2, 5, 8),
                "key": torch.ones(2, 4, 8),
                "value": torch.ones(2, 3, 8),
            },
            "4 keys and 3 values",
        ),
        (
            {"query": torch.ones(2, 5, 8), "key_padding_mask": torch.zeros(5, 2).bool()},
            r"key_padding_mask has the shape \(5, 2\); it must be \[B, K\] = \(2, 5\)",
        ),
        (
            {"query": torch.ones(2, 5, 8), "attn_mask": torch.zeros(5, 4).bool()},
            r"attn_mask has the shape \(5, 4\); it must be \[Q, K\] = \(5, 5\)",
        ),
        (
            {"query": torch.ones(2, 5, 8), "attn_mask": torch.zeros(5, 5).long()},
            "A mask must be boolean or float, not torch.int64",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_inputs_are_reported(arguments: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Attention(8, 2)(**arguments)


def test_heads_of_keys_must_divide_those_of_queries() -> None:
    x = torch.ones(1, 3, 2, 4)
    with pytest.raises(ValueError, match="3 heads and the key 2"):
        attend(Cosine(3), x, x[:, :2], x[:, :2])


def test_moves_between_devices_and_state_dicts(device: str) -> None:
    first, second = (Attention(WIDTH, HEADS, score="additive").to(device) for _ in range(2))
    second.load_state_dict(first.state_dict())
    x = tokens(4, torch.float32).to(device)
    assert torch.equal(first(x), second(x))
    assert "num_kv_heads=2" in repr(Attention(WIDTH, HEADS, num_kv_heads=2))
