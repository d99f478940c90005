"""Recording what attends in models that are not ours, against an explicit softmax."""

import threading
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from attention_atlas.attention import Attention, record

WIDTH, HEADS = 16, 4


class CausalSelfAttention(nn.Module):
    """As in a GPT that is written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        batch, tokens, _ = x.shape
        return self.qkv(x).view(batch, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind()

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.split(x)
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.proj(heads.transpose(1, 2).flatten(2))

    def expected(self, x: Tensor) -> Tensor:
        query, key, _ = (part.double() for part in self.split(x))
        scores = query @ key.mT / (WIDTH / HEADS) ** 0.5
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return scores.masked_fill(hidden, -torch.inf).softmax(-1)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attn = CausalSelfAttention()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(self.norm(x))


class GPT(nn.Module):
    def __init__(self, repeats: bool = False) -> None:
        super().__init__()
        self.repeats = repeats
        self.embedding = nn.Embedding(30, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, 30)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.repeats else block(x)
        return self.head(x)


class ByName(nn.Module):
    """Calls the function by a name of its own."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scaled_dot_product_attention(query, key, value)


class ByShape(nn.Module):
    """Calls the function with any number of leading axes, masks and fewer heads of keys."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, **options)


NAMES = ["blocks.0.attn", "blocks.1.attn"]


def ids(batch: int = 2) -> Tensor:
    return torch.randint(0, 30, (batch, 7))


def test_a_gpt_that_is_written_by_hand() -> None:
    model, x = GPT(), ids()
    plain = model(x)
    with record(model, gradients=True, statistics=["entropy"]) as recording:
        output = model(x)
        output.square().sum().backward()
    assert torch.equal(output, plain)
    assert recording.names == NAMES
    values = model.embedding(x)
    for name, block in zip(NAMES, model.blocks, strict=True):
        expected = block.attn.expected(block.norm(values))
        torch.testing.assert_close(recording.maps[name].double(), expected, rtol=0, atol=1e-6)
        entropy = -(expected.clamp_min(1e-30).log() * expected).sum(-1).float()
        torch.testing.assert_close(
            recording.statistics["entropy"][name], entropy, rtol=0, atol=1e-5
        )
        assert recording.gradients[name].shape == recording.maps[name].shape
        values = block(values)


def test_layers_of_any_model_can_be_chosen() -> None:
    model = GPT()
    for layers, names in [(0, NAMES[:1]), (["blocks.1.*"], NAMES[1:]), (None, NAMES)]:
        with record(model, layers, heads=[1, 3], queries=[-1], samples=1) as recording:
            model(ids())
        assert [name for name, calls in recording.calls.items() if calls] == names
        assert recording.maps[names[0]].shape == (1, 2, 1, 7)


def test_gradients_pass_checkpointing() -> None:
    x = ids()
    model, repeating = GPT(), GPT(repeats=True)
    repeating.load_state_dict(model.state_dict())
    found = []
    for each in (model, repeating):
        with record(each, gradients=True) as recording:
            each(x).square().sum().backward()
        assert [len(calls) for calls in recording.calls.values()] == [1, 1]
        found.append(recording.gradients[NAMES[0]])
    assert torch.equal(*found)


def test_a_name_that_was_imported() -> None:
    before = scaled_dot_product_attention
    query, key = torch.randn(2, HEADS, 5, 8), torch.randn(2, HEADS, 6, 8)
    model = ByName()
    with record(model) as recording:
        model(query, key, key)
    expected = (query @ key.mT / 8**0.5).softmax(-1)
    torch.testing.assert_close(recording.maps["attention"], expected, rtol=0, atol=1e-6)
    assert scaled_dot_product_attention is before is F.scaled_dot_product_attention


@pytest.mark.parametrize(
    ("lead", "key_lead", "mask"),
    [
        ((), (), ()),
        ((2,), (2,), (2,)),
        ((2, 4), (2, 4), (1, 1)),
        ((2, 4), (2, 2), ()),
        ((2, 4), (2, 1), (2, 1)),
        ((2, 3, 4), (2, 3, 4), (2, 1, 1)),
        ((2, 3, 4), (2, 3, 2), ()),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [None, torch.bool, torch.float32])
def test_axes_and_masks_of_any_call(
    lead: tuple[int, ...], key_lead: tuple[int, ...], mask: tuple[int, ...], kind: torch.dtype
) -> None:
    query, key, value = (
        torch.randn(*axes, tokens, 8) for axes, tokens in ((lead, 5), (key_lead, 6), (key_lead, 6))
    )
    options = {"scale": 0.3, "enable_gqa": lead != key_lead}
    bias = torch.zeros(())
    if kind is not None:
        shown = torch.rand(*mask, 5, 6) > 0.4
        shown[..., 0] = True
        bias = torch.zeros(shown.shape).masked_fill(~shown, -torch.inf)
        if kind == torch.float32:
            bias = bias + torch.randn(shown.shape)
        options["attn_mask"] = shown if kind == torch.bool else bias
    model = ByShape()
    plain = model(query, key, value, **options)
    with record(model) as recording:
        output = model(query, key, value, **options)
    assert torch.equal(output, plain)
    if lead != key_lead:
        key = key.repeat_interleave(lead[-1] // key_lead[-1], dim=-3)
    expected = (0.3 * query @ key.mT + bias).softmax(-1)
    while expected.dim() < 4:
        expected = expected.unsqueeze(-3)
    found = recording.maps["attention"]
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=0, atol=1e-6)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention_of_torch(need_weights: bool, average: bool, batch_first: bool) -> None:
    model = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.3, batch_first=batch_first).eval()
    x, y = torch.randn(2, 2, WIDTH), torch.randn(2, 2, WIDTH)
    padding = torch.tensor([[False, False], [False, True]])

    def call() -> tuple[Tensor, Tensor | None]:
        result: tuple[Tensor, Tensor | None] = model(
            x, y, y, padding, need_weights=need_weights, average_attn_weights=average
        )
        return result

    plain, weights = call()
    with record(model, gradients=True) as recording:
        output, returned = call()
        output.sum().backward()
    assert torch.equal(output, plain)
    assert (returned is None) == (weights is None) == (not need_weights)
    if returned is not None and weights is not None:
        assert torch.equal(returned, weights)
    full = model(x, y, y, padding, average_attn_weights=False)[1]
    torch.testing.assert_close(recording.maps["attention"], full, rtol=0, atol=1e-6)
    assert recording.gradients["attention"].shape == full.shape


def test_weights_are_those_before_dropout() -> None:
    model = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5, batch_first=True)
    x = torch.randn(2, 5, WIDTH)
    with record(model) as recording:
        model(x, x, x)
    expected = model.eval()(x, x, x, average_attn_weights=False)[1]
    torch.testing.assert_close(recording.maps["attention"], expected, rtol=0, atol=1e-6)


def weights_of_layers(model: nn.Module) -> list[Tensor]:
    """Make each layer return its weights too, and collect them in a pass."""
    found: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            forward = module.forward

            def asked(*arguments: Tensor, of: Callable = forward, **named: object) -> object:
                named |= {"need_weights": True, "average_attn_weights": False}
                output, weights = of(*arguments, **named)
                found.append(weights)
                return output, weights

            module.forward = asked  # type: ignore[method-assign]
    return found


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # of its fast path
def test_the_transformer_of_torch() -> None:
    """Its fast path is switched off while it is recorded; rows of padding have no meaning."""
    model = nn.Transformer(WIDTH, HEADS, 2, 2, 32, batch_first=True).eval()
    source, target = torch.randn(3, 6, WIDTH), torch.randn(3, 4, WIDTH)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 4:] = padding[2, 2:] = True
    masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
    causal = nn.Transformer.generate_square_subsequent_mask(4)
    with torch.no_grad():
        plain = model(source, target, tgt_mask=causal, **masks)
        with record(model) as recording:
            output = model(source, target, tgt_mask=causal, **masks)
        torch.testing.assert_close(output, plain, rtol=0, atol=1e-5)
        assert torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            expected = weights_of_layers(model)
            model(source, target, tgt_mask=causal, **masks)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    maps = [recording.maps[name] for name in recording.names]
    assert len(maps) == len(expected) == 6
    for own, weights in zip(maps, expected, strict=True):
        torch.testing.assert_close(own, weights, rtol=0, atol=1e-6)


def test_a_vision_transformer_of_torchvision() -> None:
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(16, 8, 2, HEADS, WIDTH, 32).eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        plain = model(x)
        with record(model, queries="first") as recording:
            assert torch.equal(model(x), plain)
        expected = weights_of_layers(model)
        model(x)
    assert len(expected) == 2
    for name, weights in zip(recording.names, expected, strict=True):
        torch.testing.assert_close(recording.maps[name], weights[:, :, :1], rtol=0, atol=1e-6)


def test_records_of_two_models_in_threads_see_their_own() -> None:
    """Both run at once; each record holds the maps of its own model, as if it ran alone."""
    models, inputs = [GPT(), GPT()], [ids(1), ids(3)]
    alone = []
    for model, x in zip(models, inputs, strict=True):
        with record(model) as recording:
            model(x)
        alone.append(recording.maps[NAMES[1]])
    barrier = threading.Barrier(2)
    found: dict[int, Tensor] = {}

    def run(index: int) -> None:
        for _ in range(20):
            barrier.wait()
            with record(models[index]) as recording:
                models[index](inputs[index])
                models[1 - index](inputs[1 - index])
            found[index] = recording.maps[NAMES[1]]
            assert [len(calls) for calls in recording.calls.values()] == [1, 1]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[index], alone[index]) for index in range(2))
    assert F.scaled_dot_product_attention is scaled_dot_product_attention


def test_another_thread_is_not_recorded() -> None:
    model = GPT()

    def run() -> None:
        thread = threading.Thread(target=model, args=(ids(),))
        thread.start()
        thread.join()

    with pytest.raises(ValueError, match="did not run inside"), record(model):
        run()


def test_nested_records_name_modules_as_their_own_model_does() -> None:
    model = GPT()
    with record(model) as outer, record(model.blocks[1], heads=0) as inner:
        model(ids())
    assert outer.names == NAMES
    assert inner.names == ["attn"]
    assert torch.equal(inner.maps["attn"], outer.maps[NAMES[1]][:, :1])


def test_our_modules_and_others_stand_side_by_side() -> None:
    model = nn.ModuleDict({"own": Attention(WIDTH, HEADS), "other": CausalSelfAttention()})
    x = torch.randn(2, 5, WIDTH)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: Tensor) -> Tensor:
            return self.parts["other"](self.parts["own"](x))

    with record(both := Both()) as recording:
        both(x)
    assert recording.names == ["parts.own", "parts.other"]
    assert [len(calls) for calls in recording.calls.values()] == [1, 1]


def test_what_is_not_seen_is_named() -> None:
    class OwnAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return (self.query(x) @ x.mT).softmax(-1) @ x

    class MambaMixer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(1)

    model = nn.Sequential(OwnAttention(), MambaMixer(), CausalSelfAttention())
    x = torch.randn(2, 5, WIDTH)
    with (
        pytest.warns(UserWarning, match=r"0 \(OwnAttention attends in a way that is not known\)"),
        record(model) as recording,
    ):
        model(x)
    assert recording.unseen == {
        "0": "OwnAttention attends in a way that is not known",
        "1": "MambaMixer does not attend by a softmax over keys",
    }
    assert recording.names == ["2"]
    with (
        pytest.raises(ValueError, match=r"Nothing was recorded of Sequential: 0 \(OwnAttention"),
        record(model[:2]),
    ):
        model[:2](x)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:OptimizedModule is compiled")
def test_a_model_that_was_compiled_before_or_is_compiled_within() -> None:
    torch._dynamo.reset()
    model, x = GPT(), ids()
    with record(model) as expected:
        plain = model(x)
    compiled = torch.compile(model)
    compiled(x)
    with record(compiled) as before:
        output = compiled(x)
    torch.testing.assert_close(output, plain, rtol=0, atol=1e-5)
    with record(model) as within:
        torch.compile(model)(x)
    for recording in (before, within):
        assert recording.names == NAMES
        for name in NAMES:
            torch.testing.assert_close(recording.maps[name], expected.maps[name], rtol=0, atol=1e-5)
