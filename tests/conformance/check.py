"""Compare what `record` records of one architecture with the truth."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from attention_atlas.attention import record
from tests.conformance.inputs import Inputs, candidates, is_of_text, texts
from tests.conformance.tiny_models import base_class, build, generating_class, tiny_config
from tests.conformance.truth import Truth, truth_of

TOLERANCE = 1e-5
ATTENDING = ("right", "partly", "refused", "wrong")
KINDS = (*ATTENDING, "does not attend", "not built")


@dataclass
class Result:
    """What became of an architecture."""

    name: str
    kind: str
    remark: str = ""
    error: float = 0.0
    maps: int = 0
    runs: list[str] = field(default_factory=list)


class WrongError(Exception):
    """A recording differs from the truth, without a word."""


@dataclass
class _Run:
    """A way to run a model, and which of its text tokens are valid."""

    name: str
    call: Callable[[PreTrainedModel], Any]
    valid: Tensor | None = None


def check(name: str) -> Result:
    """Check one architecture."""
    result = Result(name, "not built")
    try:
        model, eager, runs = _prepare(name)
    except Exception as error:
        result.remark = _line(error)
        return result
    pairs = [(model, eager, run) for run in runs]
    try:
        pairs += _generating(model.config, runs)
    except Exception as error:
        result.remark = f"no generate: {_line(error)}"
    attended, unseen = False, {}
    try:
        for model, eager, run in pairs:
            attends = _check_run(model, eager, run, result, unseen)
            attended = attended or attends
            result.runs.append(run.name)
    except WrongError as error:
        result.kind, result.remark = "wrong", f"{run.name}: {error}"
    except ValueError as error:
        result.kind = "refused" if attended or _attends(truth_in(eager, run)) else "does not attend"
        result.remark = _line(error)
    except Exception as error:
        is_told = any("output_attentions" in note for note in getattr(error, "__notes__", ()))
        result.kind = "refused" if is_told else "wrong"
        result.remark = f"{run.name}: {_line(error)}"
    else:
        partly = [each for each in unseen if "does not attend by a softmax" not in unseen[each]]
        result.kind = "partly" if partly else "right"
        if partly:
            result.remark = "; ".join(f"{each}: {unseen[each]}" for each in partly[:3])
    return result


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]


def _prepare(name: str) -> tuple[PreTrainedModel, PreTrainedModel, list[_Run]]:
    """Return a model, its eager copy, and inputs that it takes."""
    first: Exception | None = None
    for level in range(3):
        try:
            config = tiny_config(name, level)
            kind = base_class(config)
            model = build(kind, config)
            runs = list(_runs(model))
            return model, _eager(kind, config, model), runs
        except Exception as error:
            first = first or error
    assert first is not None
    raise first


def _eager(
    kind: type[PreTrainedModel], config: PreTrainedConfig, model: PreTrainedModel
) -> PreTrainedModel:
    eager = build(kind, config, "eager")
    eager.load_state_dict(model.state_dict())
    return eager


def _runs(model: PreTrainedModel) -> Iterator[_Run]:
    """Yield the ways to run a model that work."""
    last: Exception | None = None
    paddings = ("no", "right", "left") if is_of_text(model) else ("no",)
    for place, padding in enumerate(paddings):
        for inputs in candidates(model, padding):
            try:
                _call(model, inputs)
            except Exception as error:
                last = error
                continue
            mask = inputs.get("attention_mask")
            valid = mask if mask is not None and mask.shape == (3, 10) else None
            yield _Run(f"{padding} padding", lambda each, given=inputs: _call(each, given), valid)
            break
        else:
            if place == 0:
                raise last or ValueError(f"no inputs are known; it takes {model.main_input_name}")


@torch.no_grad()
def _call(model: PreTrainedModel, inputs: Inputs) -> Any:
    torch.manual_seed(5)
    return model(**inputs)


def _generating(
    config: PreTrainedConfig, runs: list[_Run]
) -> list[tuple[PreTrainedModel, PreTrainedModel, _Run]]:
    kind = generating_class(config)
    if kind is None:
        return []
    model = build(kind, config)
    if not is_of_text(model):
        return []
    inputs = texts(model, "left")
    inputs.pop("decoder_input_ids", None)
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "num_beams": 1}

    @torch.no_grad()
    def generate(each: PreTrainedModel) -> Any:
        torch.manual_seed(5)
        return each.generate(**inputs, **options, pad_token_id=0)

    generate(model)
    run = _Run("generate", generate, inputs["attention_mask"])
    return [(model, _eager(kind, config, model), run)]


def truth_in(model: PreTrainedModel, run: _Run) -> Truth:
    """Return the truth of a run."""
    with truth_of(model) as truth:
        run.call(model)
    return truth


def _attends(truth: Truth) -> bool:
    return bool(truth.attended) or any(_is_in_attention(name, truth) for name in truth.softmaxes)


def _is_in_attention(name: str, truth: Truth) -> bool:
    """Whether a module is of a class that attends by its name, or stands in one."""
    parts = name.split(".")
    holders = [".".join(parts[:size]) for size in range(1, len(parts) + 1)]
    return any(_is_attention(truth.kinds.get(each, "")) for each in holders)


def _is_attention(kind: str) -> bool:
    return re.search("Attention|Attn", kind) is not None


def _check_run(
    model: PreTrainedModel,
    eager: PreTrainedModel,
    run: _Run,
    result: Result,
    unseen: dict[str, str],
) -> bool:
    truth = truth_in(eager, run)
    before = run.call(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with record(model) as recording:
            after = run.call(model)
    if not _same(before, after):
        raise WrongError("outputs differ")
    unseen.update(recording.unseen)
    recorded = {name: calls for name, calls in recording.calls.items() if calls}
    maps = {name: [call.map for call in calls] for name, calls in recorded.items()}
    try:
        error = _compare(maps, truth, run)
    except WrongError:
        # The kernels of some models attend to other keys than their eager function does.
        truth = truth_in(model, run)
        error = _compare(maps, truth, run)
        result.remark = "eager attends in another way"
    result.error = max(result.error, error)
    result.maps += sum(map(len, maps.values()))
    known = [*recorded, *recording.unseen]
    needed = [*truth.attended]
    needed += [name for name in truth.softmaxes if _is_in_attention(name, truth)]
    for name in needed:
        if not any(_near(name, each) or each == "attention" for each in known):
            raise WrongError(f"{name} ({truth.kinds.get(name)}) is not seen")
    return _attends(truth)


def _compare(maps: Mapping[str, list[Tensor]], truth: Truth, run: _Run) -> float:
    """Return the largest error of the maps; WrongError if it is large."""
    errors = [0.0]
    for name, own in maps.items():
        expected = truth.attended.get("" if name == "attention" else name)
        if expected is None:
            errors.append(_against_softmaxes(name, own, truth))
        elif len(expected) != len(own):
            raise WrongError(f"{name} has {len(own)} maps, not {len(expected)}")
        else:
            for each, weights in zip(own, expected, strict=True):
                errors.append(_error(each, weights, run.valid))
                if not errors[-1] <= TOLERANCE:
                    raise WrongError(f"{name} differs by {errors[-1]:.2g}")
    return max(errors)


def _near(name: str, other: str) -> bool:
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def _against_softmaxes(name: str, maps: list[Tensor], truth: Truth) -> float:
    """Return the error by the closest results of softmax, of any module if names are of outputs."""
    near = [each for each in truth.softmaxes if _near(name, each)] or list(truth.softmaxes)
    weights = [each for other in near for each in truth.softmaxes[other]]
    worst = 0.0
    for own in maps:
        errors = [_error(own, each, None) for each in weights if each.numel() == own.numel()]
        least = min(errors, default=torch.inf)
        if not least <= TOLERANCE:
            raise WrongError(f"{name} is no softmax of its module: {least:.2g}")
        worst = max(worst, least)
    return worst


def _error(own: Tensor, weights: Tensor, valid: Tensor | None) -> float:
    """Return the largest difference in rows that attend, of queries that are no padding."""
    if weights.numel() != own.numel() or weights.shape[-1] != own.shape[-1]:
        return torch.inf
    weights = weights.reshape(own.shape).float()
    difference = (own - weights).abs().amax(-1)
    dead = (own == 0).all(-1) & (
        (weights.amax(-1) - weights.amin(-1) < 1e-6) | (weights == 0).all(-1)
    )
    difference = difference.masked_fill(dead, 0)
    if valid is not None and own.shape[0] == valid.shape[0] and own.shape[2] == valid.shape[1]:
        difference = difference * valid[:, None]
    return float(difference.max()) if difference.numel() else 0.0


def _same(first: Any, second: Any) -> bool:
    """Whether all tensors in two outputs are equal bit for bit."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(
            first.nan_to_num(7) if first.is_floating_point() else first,
            second.nan_to_num(7) if second.is_floating_point() else second,
        )
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(_same(first[n], second[n]) for n in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return True
