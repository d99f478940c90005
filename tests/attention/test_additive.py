"""The kernels of additive attention against the formula, a [Q, K, E] tensor in float64."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_atlas.attention import additive, compiled_additive
from attention_atlas.attention.additive import AdditiveLogits, additive_attention
from attention_atlas.attention.compiled_additive import CompiledLogits, compiled_additive_attention
from attention_atlas.attention.masks import Mask, merge_masks
from tests.attention.largest_tensor import LargestTensor

BATCH, HEADS, QUERIES, KEYS, WIDTH, VALUE_WIDTH = 2, 2, 19, 7, 3, 2
Kernel = Callable[..., Tensor]

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler"
)
KERNELS = [
    pytest.param(additive_attention, id="chunked"),
    pytest.param(
        compiled_additive_attention, id="compiled", marks=[needs_compiler, pytest.mark.slow]
    ),
]


def formula(query: Tensor, key: Tensor, vector: Tensor) -> Tensor:
    hidden = torch.tanh(query[..., :, None, :] + key[..., None, :, :])
    return (hidden * vector[:, None, None, :]).sum(-1)


def written(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    vector: Tensor,
    bias: Tensor | float = 0.0,
    null_key: bool = False,
) -> Tensor:
    """Additive attention as the formula has it; a null key is one more column of zeros."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    logits = formula(query, key, vector) + bias
    if null_key:
        logits = torch.cat([logits, torch.zeros_like(logits[..., :1])], dim=-1)
    return logits.softmax(-1)[..., : key.shape[2]] @ value


def inputs(
    batch: int = BATCH,
    heads: int = HEADS,
    queries: int = QUERIES,
    keys: int = KEYS,
    width: int = WIDTH,
    value_width: int = VALUE_WIDTH,
    key_heads: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Query, key, value and vector that want gradients."""
    key_heads = heads if key_heads is None else key_heads
    sizes = [
        (batch, heads, queries, width),
        (batch, key_heads, keys, width),
        (batch, key_heads, keys, value_width),
        (heads, width),
    ]
    return [torch.randn(size, dtype=dtype).requires_grad_() for size in sizes]


def assert_same(
    output: Tensor, expected: Tensor, leaves: list[Tensor], tolerance: float = 1e-10
) -> None:
    """Output and all gradients are the same."""
    torch.testing.assert_close(output, expected, rtol=tolerance, atol=tolerance)
    upstream = torch.randn_like(output)
    gradients = torch.autograd.grad(output, leaves, upstream)
    expected_gradients = torch.autograd.grad(expected, leaves, upstream)
    torch.testing.assert_close(gradients, expected_gradients, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("null_key", [False, True])
def test_outputs_and_gradients_under_every_mask(
    kernel: Kernel,
    null_key: bool,
    masks: Callable[..., dict[str, Any]],
    written_bias: Callable[..., Tensor],
) -> None:
    leaves = inputs()
    given = masks(BATCH, HEADS, QUERIES, KEYS)
    bias = written_bias(BATCH, HEADS, QUERIES, KEYS, **given)
    mask = merge_masks((BATCH, HEADS, QUERIES, KEYS), torch.float64, **given)
    output = kernel(*leaves, mask._replace(null_key=null_key))
    assert_same(output, written(*leaves, bias, null_key), leaves)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("null_key", [False, True])
@pytest.mark.parametrize("is_causal", [False, True])
def test_blocks_of_any_size_give_the_same(
    kernel: Kernel, null_key: bool, is_causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last block holds one query, and r of one query is cut by heads and keys."""
    monkeypatch.setattr(additive, "NUMBERS_PER_CPU_CHUNK", 15)
    monkeypatch.setattr(compiled_additive, "NUMBERS_PER_CPU_BLOCK", 1)
    monkeypatch.setattr(compiled_additive, "MIN_QUERIES_PER_BLOCK", 6)
    leaves = inputs()
    bias = torch.full((QUERIES, KEYS), -torch.inf, dtype=torch.float64).triu(1)
    output = kernel(*leaves, Mask(None, is_causal, null_key))
    assert_same(output, written(*leaves, bias if is_causal else 0.0, null_key), leaves)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("null_key", [False, True])
@pytest.mark.parametrize(
    "shape", [(BATCH, HEADS, QUERIES, KEYS), (1, HEADS, 1, KEYS), (BATCH, 1, 1, KEYS)]
)
def test_a_float_mask_has_a_gradient(
    kernel: Kernel, null_key: bool, shape: tuple[int, ...]
) -> None:
    leaves = inputs()
    bias = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    output = kernel(*leaves, Mask(bias, null_key=null_key))
    assert_same(output, written(*leaves, bias, null_key), [*leaves, bias])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("null_key", [False, True])
@pytest.mark.parametrize("boolean", [False, True])
def test_a_fully_masked_row_is_zeros(kernel: Kernel, null_key: bool, boolean: bool) -> None:
    leaves = inputs()
    shown = torch.rand(BATCH, 1, QUERIES, KEYS) > 0.3
    shown[..., 0] = True
    shown[0, :, 3] = False
    bias = torch.zeros(shown.shape, dtype=torch.float64).masked_fill(~shown, -torch.inf)
    output = kernel(*leaves, Mask(shown if boolean else bias, null_key=null_key))
    assert (output[0, :, 3] == 0).all()
    gradients = torch.autograd.grad(output.square().sum(), leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0][0, :, 3] == 0).all()
    rest = [number for number in range(QUERIES) if number != 3]
    expected = written(*leaves, bias, null_key)[:, :, rest]
    torch.testing.assert_close(output[:, :, rest], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [-1e4, -700.0, -1.0, 1.0, 700.0, 1e4])
def test_the_null_key_holds_for_any_logit(kernel: Kernel, size: float) -> None:
    query, key, value, _ = inputs()
    vector = torch.full((HEADS, WIDTH), size / WIDTH, dtype=torch.float64, requires_grad=True)
    leaves = [(query.detach() + 9).requires_grad_(), key, value, vector]
    output = kernel(*leaves, Mask(None, null_key=True))
    assert_same(output, written(*leaves, null_key=True), leaves)
    if size < -1.0:
        assert output.abs().max() < 1e-200  # the null key takes all
    if size > 1.0:
        torch.testing.assert_close(output, written(*leaves), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mask", [Mask(), Mask(None, True), Mask(None, False, True)])
def test_gradcheck(kernel: Kernel, mask: Mask) -> None:
    leaves = inputs(1, 2, 17, 3, 2, 2)
    assert torch.autograd.gradcheck(lambda *tensors: kernel(*tensors, mask), leaves)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("key_heads", [1, 2])
def test_heads_of_keys_are_shared_by_groups_of_queries(kernel: Kernel, key_heads: int) -> None:
    leaves = inputs(heads=4, key_heads=key_heads)
    assert_same(kernel(*leaves, Mask()), written(*leaves), leaves)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "sizes",
    [
        {"queries": 1},
        {"keys": 1},
        {"width": 1, "value_width": 1},
        {"batch": 1, "heads": 1},
        {"batch": 1, "heads": 1, "queries": 1, "keys": 1, "width": 1},
        {"queries": 3, "keys": 40},
        {"value_width": 11},
    ],
)
@pytest.mark.parametrize("null_key", [False, True])
def test_sizes_that_are_special(kernel: Kernel, sizes: dict[str, int], null_key: bool) -> None:
    leaves = inputs(**sizes)
    output = kernel(*leaves, Mask(None, null_key=null_key))
    assert_same(output, written(*leaves, null_key=null_key), leaves)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("empty", ["batch", "queries", "keys"])
def test_nothing_in_is_nothing_out(kernel: Kernel, empty: str) -> None:
    leaves = inputs(**{empty: 0})
    output = kernel(*leaves, Mask(None, null_key=True))
    expected = (0 if empty == "batch" else BATCH, HEADS, 0 if empty == "queries" else QUERIES)
    assert output.shape == (*expected, VALUE_WIDTH)
    assert (output == 0).all()
    gradients = torch.autograd.grad(output.sum(), leaves)
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float32, 3e-6)]
)
def test_narrow_numbers_are_widened_inside(
    kernel: Kernel, dtype: torch.dtype, tolerance: float, device: str
) -> None:
    """What is lost is the rounding of the output and of the gradients, nothing in between."""
    leaves = [tensor.detach().to(device, dtype).requires_grad_() for tensor in inputs(width=16)]
    wide = [tensor.detach().double().requires_grad_() for tensor in leaves]
    with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = kernel(*leaves, Mask(None, True, True))
    bias = torch.full((QUERIES, KEYS), -torch.inf, dtype=torch.float64, device=device).triu(1)
    expected = written(*wide, bias, True)
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance)
    gradients = torch.autograd.grad(output.float().sum(), leaves)
    for gradient, correct in zip(gradients, torch.autograd.grad(expected.sum(), wide), strict=True):
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient.double(), correct, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sizes", [(50, 1), (1, 50), (50, 50), (500, 1), (1, 500), (500, 500)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_size_of_numbers_is_right(
    kernel: Kernel, sign: int, sizes: tuple[int, int], dtype: torch.dtype
) -> None:
    """Also where the two nearly cancel, and where one sample is large and the other is not."""
    query, key, value, vector = (tensor.detach() for tensor in inputs(queries=KEYS, width=16))
    query[0], key[0] = query[0] + sign * sizes[0], key[0] - sign * sizes[1]
    query[1, :, ::2] *= sizes[0]
    key[1, ..., ::3] *= sizes[1]
    leaves = [tensor.to(dtype).requires_grad_() for tensor in (query, key, value, vector)]
    exact = [tensor.detach().double().requires_grad_() for tensor in leaves]
    tolerance = 3e-6 if dtype == torch.float32 else 1e-12
    output, expected = kernel(*leaves, Mask()), written(*exact)
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=tolerance)
    gradients = torch.autograd.grad(output.sum(), leaves)
    correct = torch.autograd.grad(expected.sum(), exact)
    for gradient, right in zip(gradients, correct, strict=True):
        torch.testing.assert_close(gradient.double(), right, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize(
    ("query_size", "key_size", "factored", "compiled_factored"),
    [
        (1, 1, True, True),
        (500, 10, True, True),  # the queries are clamped
        (5, 30, True, True),
        (30, 30, False, True),  # the compiled kernel takes float64
        (500, 500, False, False),
    ],
)
def test_exponentials_are_taken_where_they_fit(
    query_size: float, key_size: float, factored: bool, compiled_factored: bool
) -> None:
    query, key, _, vector = inputs(dtype=torch.float32)
    query = query.clamp(-1, 1) * query_size
    key = torch.linspace(-1, 1, KEYS)[:, None].expand_as(key) * key_size
    assert AdditiveLogits(query, key, vector).factored == factored
    assert CompiledLogits(query, key, vector).factored == compiled_factored


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_nan_stays_with_its_sample(kernel: Kernel) -> None:
    query, key, value, vector = (tensor.detach() for tensor in inputs())
    clean = kernel(query, key, value, vector, Mask())
    key[0, 0, 2, 1] = torch.nan
    output = kernel(query, key, value, vector, Mask())
    assert output[0, 0].isnan().all()
    torch.testing.assert_close(output[1], clean[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_dropout_drops_the_same_in_both_directions(kernel: Kernel) -> None:
    """Dropout is linear in the values: unit vectors show which weights the output used."""
    query, key, _, vector = leaves = inputs()
    units = torch.eye(KEYS, dtype=torch.float64).expand(BATCH, HEADS, KEYS, KEYS)
    leaves = [query, key, vector]
    weights = formula(query, key, vector).softmax(-1)
    torch.manual_seed(3)
    dropped = kernel(query, key, units, vector, Mask(), 0.4)
    kept = dropped != 0
    assert 0.5 < kept.double().mean() < 0.7
    assert_same(dropped, weights * kept / 0.6, leaves)
    torch.manual_seed(3)
    assert torch.equal(kernel(query, key, units, vector, Mask(), 0.4), dropped)
    assert not torch.equal(kernel(query, key, units, vector, Mask(), 0.4), dropped)


BLOCKS = [
    (slice(0, 2), slice(0, 19), slice(0, 7)),
    (slice(1, 2), slice(3, 12), slice(2, 7)),
    (slice(None), slice(5, 6), slice(None, 4)),
    (slice(0, 0), slice(None), slice(None)),
]


@pytest.mark.parametrize("numbers", [2**20, 60, 20, 1])
@pytest.mark.parametrize(
    "logits_type",
    [AdditiveLogits, pytest.param(CompiledLogits, marks=[needs_compiler, pytest.mark.slow])],
)
@pytest.mark.parametrize("key_heads", [1, 2])
def test_blocks_of_logits_are_the_formula(
    logits_type: type[AdditiveLogits],
    numbers: int,
    key_heads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(additive, "NUMBERS_PER_CPU_CHUNK", numbers)
    query, key, _, vector = inputs(key_heads=key_heads)
    expected = formula(query, key.repeat_interleave(HEADS // key_heads, dim=1), vector)
    logits = logits_type(query, key, vector)
    for samples, rows, keys in BLOCKS:
        block = logits(samples, rows, keys)
        right = expected[samples, :, rows, keys]
        torch.testing.assert_close(block, right.detach(), rtol=1e-12, atol=1e-12)


def test_blocks_of_logits_need_no_larger_tensor() -> None:
    query, key, _, vector = inputs(1, 2, 300, 300, 32, dtype=torch.float32)
    logits = AdditiveLogits(query, key, vector)
    with LargestTensor() as largest:
        block = logits(slice(0, 1), slice(0, 300), slice(0, 300))
    assert block.numel() * 32 > 4 * additive.NUMBERS_PER_CPU_CHUNK
    assert largest.numbers <= additive.NUMBERS_PER_CPU_CHUNK
    half = AdditiveLogits(query.half(), key.half(), vector.half())
    assert half(slice(0, 1), slice(0, 2), slice(0, 2)).dtype == torch.float32


@pytest.mark.slow
@needs_compiler
def test_compiled_loops_store_no_tensor_with_the_width() -> None:
    leaves = inputs(2, 4, 96, 96, 32, 32, dtype=torch.float32)
    compiled_additive_attention(*leaves, Mask()).sum().backward()  # compiles
    with torch.profiler.profile(profile_memory=True) as profile:
        compiled_additive_attention(*leaves, Mask()).sum().backward()
    events = profile.profiler.kineto_results.events()
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    block = 2 * 4 * 96 * 96 * 4
    assert block <= max(sizes) < 2 * block


@pytest.mark.slow
@needs_compiler
def test_what_is_compiled_once_serves_every_shape_and_mode() -> None:
    from torch._dynamo.utils import counters

    def attend(mask: Mask, **sizes: int) -> None:
        leaves = inputs(**sizes, dtype=torch.float32)
        output = compiled_additive_attention(*leaves, mask)
        if output.requires_grad:
            output.sum().backward()

    attend(Mask(), queries=8, keys=5)
    before = counters["stats"]["unique_graphs"]
    for number in range(1, 26):
        attend(Mask(), batch=1 + number % 4, queries=number, keys=number)
        attend(Mask(None, True), heads=number, keys=7 * number, queries=3 * number, width=number)
        attend(Mask(torch.rand(1, 1, 1, 9) > 0.5, null_key=True), keys=9, width=9, heads=9)
    for mode in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with mode:
            attend(Mask(), queries=8, keys=5)
    assert counters["stats"]["unique_graphs"] == before


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.slow
def test_stands_inside_what_is_compiled(kernel: Kernel) -> None:
    leaves = inputs()

    def step(*tensors: Tensor) -> Tensor:
        output = kernel(2 * tensors[0], *tensors[1:], Mask(None, True)).sin()
        output.sum().backward()
        return output

    expected = step(*leaves)
    gradients = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    output = torch.compile(step, backend="aot_eager")(*leaves)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(leaf.grad, gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
def test_modes_leave_no_trace(kernel: Kernel, mode: Callable[[], Any]) -> None:
    leaves = [leaf.detach() for leaf in inputs()]
    with mode():
        grad_mode = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        output = kernel(*leaves, Mask())
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == grad_mode
    assert not output.requires_grad
    torch.testing.assert_close(output, written(*leaves), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_without_a_compiler_a_one_line_error_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "import torch\n"
        "from attention_atlas.attention import compiled_additive as kernels\n"
        "from attention_atlas.attention.masks import Mask\n"
        "heads = torch.ones(2, 2, 4, 4)\n"
        "try:\n"
        "    kernels.compiled_additive_attention(heads, heads, heads, heads[0, :, 0], Mask())\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    environment = {
        **os.environ,
        "CXX": str(tmp_path / "none"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    sentence = process.stdout.strip()
    assert sentence.startswith("attention.compile needs a C++ compiler that works")
    assert sentence.endswith("Install one, or leave attention.compile off.")
    assert "\n" not in sentence
