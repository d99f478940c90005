"""A pretrained encoder whose readout rows are recorded, against not recording and against eager.

A BERT of the shape of MiniLM-L6 with random weights, in evaluation mode, 8 texts of 256 tokens.
"""

from __future__ import annotations

import torch
from transformers import BertConfig, BertModel

from attention_atlas.attention import record
from benchmarks.figures import Comparison, Figure
from benchmarks.memory import peak_of
from benchmarks.options import Options
from benchmarks.timing import Step, take_turns, tell, time_figures

GROUP = "pretrained"

PLAIN = "sdpa, not recording"
ROWS = "readout row of every layer"
ALL = "all maps"
EAGER = "eager, output_attentions=True"

BATCH, LENGTH = 8, 256
MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


def measure(options: Options) -> list[Figure]:
    """Times of the forward pass and of making the maps; memory beyond the weights."""
    case = f"MiniLM, {BATCH} x {LENGTH}"
    tell(f"{GROUP}: {case}")
    times = [
        Comparison(ROWS, PLAIN, at_most=1.10),
        Comparison(EAGER, ROWS, at_least=1.0),
        Comparison(ALL, PLAIN),
    ]
    steps = make_steps(options.device)
    rounds = take_turns(steps, times, options.device, options.effort)
    figures = time_figures(GROUP, case, times, rounds, options.device)
    return [*figures, _extra_memory(case, options.device)]


def _extra_memory(case: str, device: str) -> Figure:
    """What recording takes beyond a pass without maps, against what the eager model does."""
    peaks = {}
    for name in (PLAIN, ROWS, EAGER):
        tell(f"memory of {name}, {case}")
        peaks[name] = peak_of(name, make_steps, (device,), device)
    extra, against = (peaks[name] - peaks[PLAIN] for name in (ROWS, EAGER))
    return Figure(
        GROUP,
        case,
        Comparison(f"{ROWS}, extra memory", f"{EAGER}, extra memory", at_most=0.25),
        "MiB",
        extra / against,
        amount=extra,
        against_amount=against,
        rounds=1,
        note=f"beyond the {peaks[PLAIN]:.0f} MiB of {PLAIN}",
    )


def make_steps(device: str) -> dict[str, Step]:
    """A forward pass with each way to get maps."""
    torch.manual_seed(0)
    ids = torch.randint(1000, 30_000, (BATCH, LENGTH), device=device)
    models = {name: _model(name).to(device) for name in ("sdpa", "eager")}
    ours = _model("sdpa").to(device)

    @torch.no_grad()
    def plain() -> object:
        return models["sdpa"](ids).last_hidden_state

    @torch.no_grad()
    def rows() -> object:
        with record(ours, queries="first") as recording:
            ours(ids)
        return list(recording.maps.values())

    @torch.no_grad()
    def everything() -> object:
        with record(ours) as recording:
            ours(ids)
        return list(recording.maps.values())

    @torch.no_grad()
    def eager() -> object:
        return models["eager"](ids, output_attentions=True).attentions

    return {PLAIN: plain, ROWS: rows, ALL: everything, EAGER: eager}


def _model(implementation: str) -> BertModel:
    return BertModel(BertConfig(**MINILM, attn_implementation=implementation)).eval()
