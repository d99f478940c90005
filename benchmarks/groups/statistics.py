"""All statistics of all rows against not recording, projections included."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.contenders import ExplicitSoftmax, Ours
from benchmarks.figures import Comparison, Figure
from benchmarks.memory import memory_figures
from benchmarks.options import Options
from benchmarks.shapes import Shape, square
from benchmarks.steps import forward_backward, look_at_statistics, recorded
from benchmarks.timing import Step, take_turns, tell, time_figures

GROUP = "statistics"

PLAIN = "not recording"
ALL = "all statistics of all rows"
EXPLICIT = "the same from explicit weights"
STATISTICS = ("entropy", "received", "maximum", "distance", "sink_share", "rollout")


def measure(options: Options) -> list[Figure]:
    """Time and memory; the bounds hold at L = 512."""
    shapes = [square(512, 32), square(512, 64), square(1024, 32)]
    if options.quick:
        shapes = shapes[:1]
    times, memory = [], []
    for shape in shapes:
        tell(f"{GROUP}: {shape.name}")
        is_bounded = shape.length == 512
        explicit = Comparison(EXPLICIT, PLAIN)
        comparisons = [Comparison(ALL, PLAIN, at_most=1.7 if is_bounded else None), explicit]
        steps = make_steps(shape, options.device)
        rounds = take_turns(steps, comparisons, options.device, options.effort)
        times += time_figures(GROUP, shape.name, comparisons, rounds, options.device)
        comparisons = [Comparison(ALL, PLAIN, at_most=2.5 if is_bounded else None), explicit]
        arguments = (shape, options.device)
        memory += memory_figures(
            GROUP, shape.name, comparisons, make_steps, arguments, options.device
        )
    return times + memory


def make_steps(shape: Shape, device: str) -> dict[str, Step]:
    """A forward and backward pass with and without statistics."""
    module, explicit = Ours(shape), ExplicitSoftmax(shape)

    def look_at_weights() -> None:
        assert explicit.weights is not None
        explicit_statistics(explicit.weights.detach())
        explicit.weights = None

    return {
        PLAIN: forward_backward(module, shape, device),
        ALL: recorded(module, shape, device, look_at_statistics, statistics=STATISTICS),
        EXPLICIT: forward_backward(explicit, shape, device, look_at_weights),
    }


@torch.no_grad()
def explicit_statistics(weights: Tensor) -> dict[str, Tensor]:
    """The statistics of whole maps [B, H, L, L] by their formulas."""
    positions = torch.arange(weights.shape[-1], device=weights.device)
    first = (positions == 0).to(weights.dtype)
    return {
        "entropy": torch.special.entr(weights).sum(-1),
        "received": weights.sum(-2),
        "maximum": weights.amax(-1),
        "distance": (weights * (positions - positions[:, None]).abs()).sum(-1),
        "sink_share": weights[..., 0],
        "rollout": 0.5 * first + 0.5 * weights[:, :, 0].mean(1),
    }
