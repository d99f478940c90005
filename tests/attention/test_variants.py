"""Each variant equals its formula written out, in outputs, maps and gradients by the maps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_atlas.attention import SCORES, Additive, Attention, Multiplicative, record
from attention_atlas.attention.windowed import Window
from tests.attention.explicit import explicit
from tests.attention.largest_tensor import LargestTensor

BATCH, HEADS, WIDTH = 2, 4, 32

VARIANTS: dict[str, dict[str, Any]] = {
    **{score: {"score": score} for score in SCORES},
    "grouped": {"num_kv_heads": 2},
    "one_kv_head": {"num_kv_heads": 1},
    "rotary": {"rotary": True},
    "rotary_cosine": {"rotary": True, "score": "cosine"},
    "window": {"window": 2},
    "window_additive": {"window": 3, "score": "additive"},
    "headwise": {"gate": "headwise"},
    "elementwise": {"gate": "elementwise"},
    "null_key": {"null_key": True},
    **{f"null_key_{score}": {"null_key": True, "score": score} for score in SCORES},
    **{f"differential_{score}": {"differential": True, "score": score} for score in SCORES},
    "linear": {"linear": True},
    "linear_grouped_gated": {"linear": True, "num_kv_heads": 2, "gate": "elementwise"},
    "all_together": {
        "rotary": True,
        "window": 2,
        "gate": "headwise",
        "num_kv_heads": 2,
        "null_key": True,
        "score": "cosine",
    },
    "differential_with_others": {
        "differential": True,
        "rotary": True,
        "window": 2,
        "gate": "elementwise",
        "num_kv_heads": 2,
    },
}


def make(**options: Any) -> Attention:
    """A module in float64 whose learned numbers are all different."""
    attention = Attention(WIDTH, HEADS, **options).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return attention


def agree(attention: Attention, x: Tensor, grid: Any, given: dict[str, Any], bias: Any) -> None:
    """Outputs, gradients by input and parameters, maps and gradients by maps, all of them."""
    attention.zero_grad()
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    with record(attention, gradients=True) as recording:
        output = attention(leaf, grid=grid, **given)
    expected = explicit(attention, other, bias=bias, grid=grid)
    torch.testing.assert_close(output, expected.output, rtol=1e-10, atol=1e-10)
    upstream = torch.randn_like(output)
    wanted = torch.autograd.grad(
        (expected.output * upstream).sum(),
        [other, expected.map, *attention.parameters()],
        allow_unused=True,
    )
    (output * upstream).sum().backward()
    map_, gradient = recording.maps["attention"], recording.gradients["attention"]
    assert map_.dtype == gradient.dtype == torch.float64
    torch.testing.assert_close(map_, expected.map, rtol=1e-10, atol=1e-12)
    inside = torch.ones_like(map_, dtype=torch.bool)
    if attention.window is not None:
        inside = explicit(Attention(WIDTH, HEADS, window=attention.window).double(), x, grid=grid)
        inside = inside.map > 0
        assert torch.equal(gradient[~inside], torch.zeros_like(gradient[~inside]))
    torch.testing.assert_close(gradient[inside], wanted[1][inside], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(leaf.grad, wanted[0], rtol=1e-9, atol=1e-10)
    for (name, parameter), grad in zip(attention.named_parameters(), wanted[2:], strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_equals_its_formula(options: dict[str, Any]) -> None:
    agree(make(**options), torch.randn(BATCH, 9, WIDTH, dtype=torch.float64), None, {}, None)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_equals_its_formula_on_a_grid(options: dict[str, Any]) -> None:
    x = torch.randn(BATCH, 12, WIDTH, dtype=torch.float64)
    agree(make(**options), x, (3, 4), {}, None)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_padding(options: dict[str, Any]) -> None:
    x = torch.randn(BATCH, 9, WIDTH, dtype=torch.float64)
    padding = torch.zeros(BATCH, 9, dtype=torch.bool)
    padding[0, 6:] = True
    bias = torch.zeros(BATCH, 1, 1, 9, dtype=torch.float64).masked_fill(
        padding[:, None, None], -torch.inf
    )
    attention = make(**options)
    # Beyond the padding a window may leave no key at all, where a norm has no gradient.
    agree(attention, x, None, {"key_padding_mask": padding}, bias)


@pytest.mark.parametrize(
    "name", ["window", "window_additive", "null_key", "null_key_additive", "differential_dot"]
)
def test_every_kind_of_mask(
    name: str, masks: Callable[..., dict[str, Any]], written_bias: Callable[..., Tensor]
) -> None:
    x = torch.randn(BATCH, 7, WIDTH, dtype=torch.float64)
    given = masks(BATCH, HEADS, 7, 7)
    agree(make(**VARIANTS[name]), x, None, given, written_bias(BATCH, HEADS, 7, 7, **given))


@pytest.mark.parametrize(
    "name", ["window", "window_additive", "all_together", "differential_with_others"]
)
@pytest.mark.parametrize("grid", [None, (25, 12)])
def test_a_window_that_is_attended_to_block_by_block(
    name: str, grid: tuple[int, int] | None, masks: Callable[..., dict[str, Any]]
) -> None:
    """Long enough that the blocks are fewer keys than all."""
    attention = make(**VARIANTS[name])
    length = 300
    x = torch.randn(BATCH, length, WIDTH, dtype=torch.float64)
    given = masks(BATCH, HEADS, length, length)
    with record(attention) as recording:
        output = attention(x, grid=grid, **given)
    assert recording.calls["attention"][0].shape == (BATCH, HEADS, length, length)
    map_ = recording.maps["attention"]
    values = attention._project(x, None, None)[2]
    values = values.repeat_interleave(HEADS // values.shape[1], dim=1)
    heads = (map_ @ values).transpose(1, 2)
    if attention.differential is not None:
        heads = attention.differential.normalise(heads)
    if attention.gate_proj is not None:
        gates = attention.gate_proj(x).sigmoid()
        heads = heads * gates.view(*gates.shape[:2], HEADS, -1)
    expected = attention.out_proj(heads.flatten(2))
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("grid", [None, (4, 6)])
def test_bands_are_the_window_part_of_the_maps(grid: tuple[int, int] | None) -> None:
    attention = make(window=1)
    x = torch.randn(BATCH, 24, WIDTH, dtype=torch.float64)
    with record(attention, queries=[0, 7, 23, 3]) as recording:
        attention(x, grid=grid)
    map_, band = recording.maps["attention"], recording.bands["attention"]
    offsets = [(-1,), (0,), (1,)]
    if grid is not None:
        offsets = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    assert band.shape == (BATCH, HEADS, 4, len(offsets))
    for row, token in enumerate([0, 7, 23, 3]):
        for column, offset in enumerate(offsets):
            size = (24,) if grid is None else grid
            place = (token,) if grid is None else divmod(token, grid[1])
            there = [a + b for a, b in zip(place, offset, strict=True)]
            expected = torch.zeros(BATCH, HEADS, dtype=torch.float64)
            if all(0 <= a < b for a, b in zip(there, size, strict=True)):
                key = there[0] if grid is None else there[0] * grid[1] + there[1]
                expected = map_[:, :, row, key]
            assert torch.equal(band[:, :, row, column], expected)
    torch.testing.assert_close(band.sum(-1), torch.ones_like(band[..., 0]))


@pytest.mark.parametrize("grid", [None, (15, 20)])
def test_bands_under_every_mask(
    grid: tuple[int, int] | None, masks: Callable[..., dict[str, Any]]
) -> None:
    attention = make(window=2)
    x = torch.randn(BATCH, 300, WIDTH, dtype=torch.float64)
    with record(attention, queries=[0, 131, 299], samples=[0]) as recording:
        attention(x, grid=grid, **masks(BATCH, HEADS, 300, 300))
    map_, band = recording.maps["attention"], recording.bands["attention"]
    neighbours = Window(2, (300,) if grid is None else grid).neighbours(torch.tensor([0, 131, 299]))
    for row, keys in enumerate(neighbours):
        shown = torch.zeros_like(band[:, :, row])
        shown[..., keys >= 0] = map_[:, :, row, keys[keys >= 0]]
        assert torch.equal(band[:, :, row], shown)


def test_a_sample_that_is_all_padding_has_finite_gradients() -> None:
    for name, options in VARIANTS.items():
        attention = make(**options)
        x = torch.randn(BATCH, 9, WIDTH, dtype=torch.float64, requires_grad=True)
        padding = torch.zeros(BATCH, 9, dtype=torch.bool)
        padding[0] = True
        attention(x, key_padding_mask=padding).sum().mul(1e4).backward()
        for parameter in [x, *attention.parameters()]:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_bands_need_a_window() -> None:
    with record(attention := make()) as recording:
        attention(torch.randn(1, 4, WIDTH, dtype=torch.float64))
    assert "attention" not in recording.bands
    assert len(recording.bands) == 0
    with pytest.raises(ValueError, match="Only attention with a window"):
        _ = recording.bands["attention"]


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    """Moving all tokens by the same steps changes no map; on a line and on a grid."""
    for grid, moved, part in [((8,), (11,), slice(3, 11)), ((2, 4), (5, 4), slice(12, 20))]:
        attention = make(rotary=True)
        x = torch.randn(1, 8, WIDTH, dtype=torch.float64)
        around = torch.randn(1, moved[0] * (1 if len(moved) == 1 else moved[1]), WIDTH).double()
        around[:, part] = x
        mask = torch.ones(1, around.shape[1], dtype=torch.bool)
        mask[:, part] = False
        with record(attention) as recording:
            attention(x, grid=grid)
            attention(around, grid=moved, key_padding_mask=mask)
        first, second = (call.map for call in recording.calls["attention"])
        torch.testing.assert_close(first, second[:, :, part, part], rtol=1e-9, atol=1e-12)


def test_a_token_before_the_grid_is_not_turned() -> None:
    attention = make(rotary=True)
    x = torch.randn(BATCH, 7, WIDTH, dtype=torch.float64)
    agree(attention, x, (2, 3), {}, None)
    agree(attention, x, (6,), {}, None)


def test_rows_of_a_null_key_sum_to_one_with_its_share() -> None:
    attention = make(null_key=True)
    x = torch.randn(BATCH, 9, WIDTH, dtype=torch.float64)
    padding = torch.zeros(BATCH, 9, dtype=torch.bool)
    padding[1] = True
    with record(attention, statistics=["null_share", "entropy"]) as recording:
        output = attention(x, key_padding_mask=padding)
    share = recording.statistics["null_share"]["attention"]
    sums = recording.maps["attention"].sum(-1)
    torch.testing.assert_close(sums + share, torch.ones_like(share), rtol=1e-12, atol=1e-12)
    assert (sums[0] < 1).all()
    assert torch.equal(sums[1], torch.zeros_like(sums[1]))
    torch.testing.assert_close(output[1], attention.out_proj.bias.expand(9, -1))


def test_differential_maps_are_signed_and_their_parts_are_had() -> None:
    attention = make(differential=True)
    assert attention.is_signed
    assert not make().is_signed
    x = torch.randn(BATCH, 9, WIDTH, dtype=torch.float64)
    with record(attention, gradients=True) as recording:
        attention(x).sum().backward()
    call = recording.calls["attention"][0]
    weight = attention.differential.weight()
    first, second = call.parts
    assert call.is_signed
    assert (call.map < 0).any()
    torch.testing.assert_close(call.map, first - weight * second)
    torch.testing.assert_close(call.map.sum(-1), (1 - weight).expand(BATCH, HEADS, 9))
    by_first, by_second = call.part_gradients
    assert torch.equal(by_first, call.gradient)
    torch.testing.assert_close(by_second, -weight * call.gradient)


def test_a_differential_map_has_the_gradients_of_its_parts() -> None:
    """dA1 = dO V' and dA2 = -lambda dO V', by autograd through the explicit maps."""
    attention = make(differential=True)
    x = torch.randn(BATCH, 5, WIDTH, dtype=torch.float64)
    with record(attention, gradients=True) as recording:
        attention(x).square().sum().backward()
    expected = explicit(attention, x.requires_grad_())
    wanted = torch.autograd.grad(expected.output.square().sum(), expected.parts)
    for part, gradient in zip(recording.calls["attention"][0].part_gradients, wanted, strict=True):
        torch.testing.assert_close(part, gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["rotary", "null_key", "differential_dot", "linear", "headwise"])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    attention = make(**VARIANTS[name])
    x = torch.randn(BATCH, 9, WIDTH).to(dtype)
    wide = attention(x.double())
    output = attention.to(dtype)(x)
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), wide, rtol=0.1, atol=0.15)


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_does_not_go_together_is_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"linear": True, "window": 2}, "linear does not go with window"),
        ({"differential": True, "null_key": True}, "differential does not go with null_key"),
        ({"rotary": True, "score": "additive"}, "rotary"),
        ({"compile": True}, "compile is for the additive score"),
        ({"gate": "both"}, "gate=both"),
        ({"linear": "no"}, "linear='no' is not possible: take true or false"),
        ({"window": 2.5}, "window=2.5"),
        ({"score": Additive(HEADS, 8), "rotary": True}, "rotary"),
        ({"score": Additive(HEADS, 8), "compile": True}, "compile belongs to the score"),
        ({"score": Multiplicative(HEADS, 8), "differential": True}, "that it compares are 4 wide"),
        ({"window": 0}, "window=0"),
    ]
    for options, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            Attention(WIDTH, HEADS, **options)
    x = torch.randn(1, 6, WIDTH)
    calls: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"rotary": True}, {"key": torch.randn(1, 5, WIDTH)}, "rotary needs self-attention"),
        ({"window": 1}, {"key": torch.randn(1, 5, WIDTH)}, "window needs self-attention"),
        ({"window": 1}, {"grid": (5,)}, "window needs a position for every token"),
        ({}, {"grid": (2, 4)}, "grid is"),
        ({"linear": True}, {"is_causal": True}, "Linear attention sums over the keys once"),
        ({"linear": True}, {"attn_mask": torch.zeros(6, 6)}, "Linear attention sums"),
        ({"linear": True}, {"key_padding_mask": torch.zeros(1, 6)}, "a boolean key_padding_mask"),
    ]
    for options, given, sentence in calls:
        with pytest.raises(ValueError, match=sentence):
            Attention(WIDTH, HEADS, **options)(x, **given)
    with pytest.raises(ValueError, match="multiple of 4"):
        Attention(6, 1, rotary=True)(torch.randn(1, 4, 6), grid=(2, 2))


def test_variants_add_only_their_own_parameters() -> None:
    plain = set(Attention(WIDTH, HEADS).state_dict())
    added = {
        "rotary": set(),
        "window": set(),
        "null_key": set(),
        "headwise": {"gate_proj.weight", "gate_proj.bias"},
        "linear": {"score.query_weight", "score.key_weight"},
        "differential_dot": {
            *(f"differential.lambda_{of}_{number}" for of in ("query", "key") for number in "12"),
            "differential.norm.weight",
        },
    }
    for name, names in added.items():
        assert set(Attention(WIDTH, HEADS, **VARIANTS[name]).state_dict()) - plain == names


def test_linear_attention_is_linear_in_the_keys() -> None:
    """No tensor of the forward or backward pass has a number per query and key."""
    attention = Attention(WIDTH, HEADS, linear=True)
    x = torch.randn(1, 2000, WIDTH, requires_grad=True)
    with LargestTensor() as largest:
        attention(x).sum().backward()
    assert largest.numbers <= 2000 * 4 * WIDTH
    nn.init.zeros_(attention.score.query_weight)
    with record(attention, queries=[0]) as recording:
        attention(x)
    torch.testing.assert_close(
        recording.maps["attention"], torch.full((1, HEADS, 1, 2000), 1 / 2000)
    )


def test_a_window_makes_no_query_key_tensor() -> None:
    attention = Attention(WIDTH, 1, window=8)
    x = torch.randn(1, 4000, WIDTH, requires_grad=True)
    with LargestTensor() as largest, record(attention, statistics=["entropy"]) as recording:
        attention(x).sum().backward()
        band = recording.bands["attention"]
        entropy = recording.statistics["entropy"]["attention"]
    assert largest.numbers <= 4000 * 4 * WIDTH
    torch.testing.assert_close(torch.special.entr(band).sum(-1), entropy)
