"""Models of transformers as people run them: adapters, flex attention, generation, half floats."""

import peft
import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from attention_atlas.attention import Recording, record
from tests.pretrained.architectures import TEXT

LLAMA = {**TEXT, "num_key_value_heads": 2}
BERT_NAMES = [f"encoder.layer.{index}.attention.self" for index in range(3)]


def llama(implementation: str = "sdpa", kind: str = "LlamaForCausalLM", **options) -> nn.Module:
    torch.manual_seed(1)
    config = transformers.LlamaConfig(**LLAMA, **options, attn_implementation=implementation)
    return getattr(transformers, kind)(config).eval()


def ids(batch: int = 2, length: int = 7) -> Tensor:
    return torch.randint(5, 60, (batch, length))


def closest(recording: Recording, attentions: tuple[Tensor, ...], tolerance: float) -> None:
    """Check the maps of the last call of each layer."""
    assert len(recording.names) == len(attentions)
    for name, attention in zip(recording.names, attentions, strict=True):
        found = recording.maps[name]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, attention.float(), rtol=0, atol=tolerance)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # by peft
def test_adapters_leave_no_trace_in_names() -> None:
    model = transformers.BertModel(transformers.BertConfig(**TEXT)).eval()
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query", "value"]))
    with torch.no_grad(), record(adapted) as recording:
        adapted(input_ids=ids())
    assert recording.names == BERT_NAMES
    with torch.no_grad(), record(nn.DataParallel(adapted), layers=BERT_NAMES[1]) as recording:
        adapted(input_ids=ids())
    assert recording.names == BERT_NAMES[1:2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # flex_attention is compiled, and torch warns of much
def test_flex_attention_with_padding() -> None:
    x, valid = ids(), torch.ones(2, 7, dtype=torch.long)
    valid[1, :3] = 0
    model = llama("flex_attention")
    with torch.no_grad():
        expected = llama("eager")(x, attention_mask=valid, output_attentions=True).attentions
        plain = model(x, attention_mask=valid).logits
        with record(model) as recording:
            assert torch.equal(model(x, attention_mask=valid).logits, plain)
    for name, attention in zip(recording.names, expected, strict=True):
        shown = valid[:, None, :, None] > 0
        difference = (recording.maps[name] - attention).abs() * shown
        assert difference.max() < 1e-5


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("beams", [1, 3])
def test_generation_writes_the_same_tokens(implementation: str, beams: int) -> None:
    """The maps are those of a pass over all tokens that were written, without beams."""
    model, x = llama(implementation), ids()
    valid = torch.ones_like(x)
    valid[1, :2] = 0
    options = {"attention_mask": valid, "max_new_tokens": 4, "do_sample": False, "num_beams": beams}
    plain = model.generate(x, **options)
    with record(model) as recording:
        written = model.generate(x, **options)
    assert torch.equal(written, plain)
    calls = recording.calls[recording.names[1]]
    assert [call.shape[2] for call in calls] == [7, 1, 1, 1]
    if beams > 1:
        return
    longer = torch.cat([valid, torch.ones(2, 3, dtype=torch.long)], 1)
    eager = llama("eager")
    with torch.no_grad():
        whole = eager(written[:, :-1], attention_mask=longer, output_attentions=True).attentions[1]
    for step, call in enumerate(calls[1:]):
        expected = whole[:, :, 7 + step : 8 + step, : 8 + step]
        torch.testing.assert_close(call.map, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_maps_of_half_precision_are_float32(dtype: torch.dtype, tolerance: float) -> None:
    """They differ from those of float32 by the rounding of queries and keys, and of `eager`."""
    model, x = llama().to(dtype), ids()
    with torch.no_grad():
        plain = model(x).logits
        with record(model) as recording:
            assert torch.equal(model(x).logits, plain)
        expected = llama("eager").to(dtype)(x, output_attentions=True).attentions
    closest(recording, expected, tolerance)


def test_gradients_pass_one_query_that_is_packed() -> None:
    """`sdpa` packs the heads of one query that share a key."""
    x, cached = ids(), ids(length=1)
    gradients = []
    for implementation in ("sdpa", "eager"):
        model = llama(implementation)
        cache = model(x, use_cache=True).past_key_values
        valid = torch.ones(2, 8, dtype=torch.long)
        valid[1, 0] = 0
        with record(model, gradients=True) as recording:
            model(
                cached, attention_mask=valid, past_key_values=cache
            ).logits.square().sum().backward()
        gradients.append([recording.gradients[name] for name in recording.names])
    for own, expected in zip(*gradients, strict=True):
        assert own.shape == (2, 4, 1, 8)
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-4)


def test_output_attentions_gives_what_it_gives_alone() -> None:
    model, x = llama("eager"), ids()
    with torch.no_grad():
        alone = model(x, output_attentions=True).attentions
        with record(model) as recording:
            beside = model(x, output_attentions=True).attentions
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))
    closest(recording, alone, 0)


def test_a_paged_cache_is_refused() -> None:
    class PagedAttention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            attend = ALL_ATTENTION_FUNCTIONS.get_interface("sdpa", None)
            return attend(self, x, x, x, None, cache=object())[0]

    model = PagedAttention()
    sentence = "PagedAttention attends by sdpa_.* with a paged cache"
    with pytest.raises(ValueError, match=sentence), record(model):
        model(torch.randn(1, 2, 3, 4))
