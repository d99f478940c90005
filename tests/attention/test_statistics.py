"""Statistics equal what the explicit maps say, for every score, variant and mask."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_atlas.attention import (
    STATISTICS,
    Attention,
    Distance,
    Rollout,
    SinkShare,
    Statistic,
    record,
)
from attention_atlas.attention.row_blocks import NUMBERS_PER_CPU_BLOCK, Rows
from attention_atlas.attention.statistics import MapShape
from tests.attention.test_variants import BATCH, HEADS, VARIANTS, WIDTH, make

NAMES = [name for name in STATISTICS if name != "rollout"]


def from_map(name: str, map_: Tensor, places: Tensor, padding: Tensor | None) -> Tensor:
    """The statistic of a whole map [B, H, Q, K], as its definition says it."""
    if name == "entropy":
        return -torch.where(map_ > 0, map_ * map_.log(), 0.0).sum(-1)
    if name == "received":
        valid = 1.0 if padding is None else (~padding).double()[:, None, :, None]
        return (map_ * valid).sum(-2)
    if name == "maximum":
        return map_.max(-1).values
    if name == "sink_share":
        return map_[..., 0]
    if name == "null_share":
        return 1 - map_.sum(-1)
    distance = (places[:, None] - places[None]).square().sum(-1).sqrt()
    totals = map_.sum(-1)
    return (map_ * distance).sum(-1) / torch.where(totals == 0, 1, totals)


def shares(map_: Tensor, is_signed: bool) -> Tensor:
    totals = map_.abs().sum(-1, keepdim=True)
    return map_.abs() / torch.where(totals == 0, 1, totals) if is_signed else map_


@pytest.mark.parametrize("grid", [(9,), (3, 3)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_equals_the_explicit_map(
    options: dict[str, Any], masked: bool, grid: tuple[int, ...]
) -> None:
    attention = make(**options)
    x = torch.randn(BATCH, 9, WIDTH, dtype=torch.float64)
    padding = None
    if masked:
        padding = torch.zeros(BATCH, 9, dtype=torch.bool)
        padding[0, 5:] = True
    with record(attention, statistics=NAMES) as recording:
        attention(x, key_padding_mask=padding, grid=grid)
    map_ = shares(recording.maps["attention"], attention.is_signed)
    axes = torch.meshgrid(*(torch.arange(size).double() for size in grid), indexing="ij")
    places = torch.stack(axes, -1).flatten(0, -2)
    for name in NAMES:
        expected = from_map(name, map_, places, padding)
        if name == "null_share" and "null_key" not in options:
            expected = torch.zeros_like(expected)
        actual = recording.statistics[name]["attention"]
        assert actual.dtype == torch.float64
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("name", ["scaled_dot", "additive", "null_key"])
def test_equals_the_explicit_map_for_every_kind_of_mask(
    name: str, masks: Callable[..., dict[str, Any]]
) -> None:
    attention = make(**VARIANTS[name])
    x = torch.randn(BATCH, 6, WIDTH, dtype=torch.float64)
    given = masks(BATCH, HEADS, 6, 6)
    with record(attention, statistics=NAMES) as recording:
        attention(x, **given)
    padding = given.get("key_padding_mask")
    padding = padding if padding is not None and padding.dtype == torch.bool else None
    places = torch.arange(6).double()[:, None]
    for statistic in NAMES:
        expected = from_map(statistic, recording.maps["attention"], places, padding)
        if statistic == "null_share" and name != "null_key":
            expected = torch.zeros_like(expected)
        actual = recording.statistics[statistic]["attention"]
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10, msg=statistic)


def test_many_blocks_give_what_one_gives() -> None:
    """More samples and rows than a block takes, and a slice of them."""
    attention = make()
    length, samples = 700, 3
    assert samples * HEADS * length * length > 2 * NUMBERS_PER_CPU_BLOCK
    x = torch.randn(samples, length, WIDTH, dtype=torch.float64)
    rows = [699, 3, 340]
    with (
        record(attention, statistics=NAMES) as full,
        record(attention, samples=[2, 0], heads=[1], queries=rows, statistics=NAMES) as part,
    ):
        attention(x, is_causal=True)
    places = torch.arange(length).double()[:, None]
    for name in NAMES:
        statistic = full.statistics[name]["attention"]
        expected = from_map(name, full.maps["attention"], places, None)
        if name == "distance":
            torch.testing.assert_close(statistic, expected, rtol=1e-10, atol=1e-9)
        else:
            torch.testing.assert_close(statistic, expected, rtol=1e-10, atol=1e-10, msg=name)
        chosen = statistic[[2, 0]][:, [1]]
        if name == "received":
            chosen = full.maps["attention"][[2, 0]][:, [1]][:, :, rows].sum(-2)
        else:
            chosen = chosen[..., rows]
        torch.testing.assert_close(part.statistics[name]["attention"], chosen, msg=name)


def test_fully_masked_rows_count_for_nothing() -> None:
    attention = make()
    x = torch.randn(BATCH, 5, WIDTH, dtype=torch.float64)
    hidden = torch.zeros(5, 5, dtype=torch.bool)
    hidden[2] = True
    with record(attention, statistics=NAMES) as recording:
        attention(x, attn_mask=hidden)
    for name in ("entropy", "maximum", "distance", "sink_share", "null_share"):
        row = recording.statistics[name]["attention"][:, :, 2]
        assert torch.equal(row, torch.zeros_like(row)), name
    received = recording.statistics["received"]["attention"]
    torch.testing.assert_close(received.sum(-1), torch.full((BATCH, HEADS), 4.0).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_models_have_statistics_in_float32(dtype: torch.dtype) -> None:
    attention = make().to(dtype)
    x = torch.randn(BATCH, 20, WIDTH).to(dtype)
    with record(attention, statistics=NAMES) as recording, torch.autocast("cpu", torch.bfloat16):
        attention(x)
        entropy = recording.statistics["entropy"]["attention"]
    assert entropy.dtype == torch.float32
    expected = from_map("entropy", recording.maps["attention"].double(), torch.empty(0), None)
    torch.testing.assert_close(entropy.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("unchecked_shapes")
def test_distances_in_other_units_and_of_tokens_without_a_position() -> None:
    attention = make()
    x = torch.randn(BATCH, 5, WIDTH, dtype=torch.float64)
    seconds = torch.tensor([0.0, 0.5, 0.6, 2.0, 2.5], dtype=torch.float64)[:, None]
    with record(attention, statistics=[Distance(seconds)]) as recording:
        attention(x)
    expected = from_map("distance", recording.maps["attention"], seconds, None)
    torch.testing.assert_close(recording.statistics["distance"]["attention"], expected)

    with record(attention, statistics=["distance"]) as recording:
        attention(x, grid=(2, 2))
    distance = recording.statistics["distance"]["attention"]
    assert distance[:, :, 0].isnan().all()
    weights = recording.maps["attention"][:, :, 1:, 1:]
    places = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).double()
    torch.testing.assert_close(distance[:, :, 1:], from_map("distance", weights, places, None))

    with record(attention, statistics=["distance"]) as recording:
        attention(x[:, :1], x)
    assert recording.statistics["distance"]["attention"].isnan().all()
    with record(attention, statistics=[Distance(seconds[1:])]) as recording:
        attention(x)
    with pytest.raises(ValueError, match=r"must be \[5, axes\]"):
        _ = recording.statistics["distance"]["attention"]


@pytest.mark.usefixtures("unchecked_shapes")
def test_sink_share_of_chosen_keys() -> None:
    attention = make()
    x = torch.randn(BATCH, 6, WIDTH, dtype=torch.float64)
    with record(attention, statistics=[SinkShare([0, -1, 3])]) as recording:
        attention(x)
    expected = recording.maps["attention"][..., [0, 5, 3]].sum(-1)
    torch.testing.assert_close(recording.statistics["sink_share"]["attention"], expected)
    with record(attention, statistics=[SinkShare([6])]) as recording:
        attention(x)
    with pytest.raises(ValueError, match="no key 6 for sink_share: there are 6"):
        _ = recording.statistics["sink_share"]["attention"]


class Model(nn.Module):
    """Layers and a readout by a learned query; without it the first token is read out."""

    def __init__(self, readout: bool, **options: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make(**options) for _ in range(3))
        self.query = nn.Parameter(torch.randn(1, 1, WIDTH, dtype=torch.float64))
        self.readout = make() if readout else None

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = x + layer(x, key_padding_mask=padding)
        if self.readout is None:
            return x[:, 0]
        query = self.query.expand(len(x), -1, -1)
        return self.readout(query, x, key_padding_mask=padding)[:, 0]


@pytest.mark.parametrize("readout", [True, False])
@pytest.mark.parametrize("options", [{}, {"score": "additive"}, {"window": 2}, {"linear": True}])
def test_rollout_of_the_readout(readout: bool, options: dict[str, Any]) -> None:
    model = Model(readout, **options)
    x = torch.randn(BATCH, 9, WIDTH, dtype=torch.float64)
    padding = torch.zeros(BATCH, 9, dtype=torch.bool)
    padding[1, 6:] = True
    with record(model, statistics=["rollout", "entropy"]) as recording:
        model(x, padding)
    # The product of all layers, each with its residual, as in the paper: the row of the readout.
    product = torch.eye(9, dtype=torch.float64).expand(BATCH, 9, 9)
    for layer in range(3):
        mean = recording.maps[f"layers.{layer}"].mean(1)
        product = (0.5 * mean + 0.5 * torch.eye(9)) @ product
    row = product[:, :1]
    if readout:
        row = recording.maps["readout"].mean(1) @ product
    rollout = recording.statistics["rollout"]
    torch.testing.assert_close(rollout["layers.0"], row[:, 0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(rollout["layers.0"].sum(-1), torch.ones(BATCH).double())
    if readout:
        expected = recording.maps["readout"].mean(1)[:, 0]
        torch.testing.assert_close(rollout["readout"], expected)
    entropy = recording.statistics["entropy"]["layers.1"]
    expected = from_map("entropy", recording.maps["layers.1"], torch.empty(0), None)
    torch.testing.assert_close(entropy, expected)


def test_rollout_of_a_mean() -> None:
    model = Model(readout=False)
    x = torch.randn(BATCH, 7, WIDTH, dtype=torch.float64)
    uniform = torch.full((BATCH, 7), 1 / 7, dtype=torch.float64)
    with record(model, statistics=[Rollout(uniform)]) as recording:
        model(x)
    product = torch.eye(7, dtype=torch.float64)
    for layer in range(3):
        mean = recording.maps[f"layers.{layer}"].mean(1)
        product = (0.5 * mean + 0.5 * torch.eye(7)) @ product
    torch.testing.assert_close(recording.statistics["rollout"]["layers.0"], product.mean(1))


@pytest.mark.usefixtures("unchecked_shapes")
def test_rollout_is_refused_where_it_means_nothing() -> None:
    signed = Model(readout=True, differential=True)
    with (
        pytest.raises(ValueError, match=r"no rollout through 'layers\.0': its maps are signed"),
        record(signed, statistics=["rollout"]),
    ):
        pass
    model = Model(readout=True)
    x = torch.randn(BATCH, 7, WIDTH, dtype=torch.float64)
    with record(model, statistics=["rollout"]) as recording:
        model(x)
        model(x)
    with pytest.raises(ValueError, match=r"one pass through the layers, and 'layers\.0' ran 2"):
        _ = recording.statistics["rollout"]["layers.0"]
    for choice in ({"heads": [0]}, {"queries": "first"}):
        with (
            pytest.raises(ValueError, match="through all heads and queries"),
            record(Model(readout=True), statistics=["rollout"], **choice),
        ):
            pass


def test_a_statistic_of_ones_own() -> None:
    class KeysAboveATenth(Statistic):
        """How many keys of each row have more than a tenth."""

        name = "above_a_tenth"

        def start(self, shape: MapShape) -> Tensor:
            return shape.like.new_zeros(shape.size[:3])

        def add(self, result: Tensor, rows: Rows, shape: MapShape) -> None:
            result[rows.samples, :, rows.rows] = (rows.of_map() > 0.1).sum(-1).to(result.dtype)

    attention = Attention(WIDTH, HEADS)
    with record(attention, statistics=[KeysAboveATenth()]) as recording:
        attention(torch.randn(BATCH, 8, WIDTH))
    expected = (recording.maps["attention"] > 0.1).sum(-1).float()
    assert torch.equal(recording.statistics["above_a_tenth"]["attention"], expected)


def test_distances_where_nearly_all_goes_to_the_null_key() -> None:
    attention = Attention(WIDTH, HEADS, null_key=True, score="dot")
    with torch.no_grad():
        attention.in_proj_weight.zero_()
        attention.in_proj_bias[:WIDTH] = 2.0
        attention.in_proj_bias[WIDTH : 2 * WIDTH] = -1.25  # every logit is -20
    with record(attention, statistics=["distance", "entropy"]) as recording:
        attention(torch.randn(1, 6, WIDTH))
    expected = torch.tensor([15.0, 11.0, 9.0, 9.0, 11.0, 15.0]) / 6
    distance = recording.statistics["distance"]["attention"]
    torch.testing.assert_close(distance, expected.expand_as(distance))


def test_unknown_statistics_are_reported() -> None:
    attention = Attention(WIDTH, HEADS)
    with (
        pytest.raises(ValueError, match="'sink_share' 2 times"),
        record(attention, statistics=[SinkShare([0]), SinkShare([1])]),
    ):
        pass
    with (
        pytest.raises(ValueError, match=r"no statistic 'entropi'.*Did you mean 'entropy'"),
        record(attention, statistics=["entropi"]),
    ):
        pass
