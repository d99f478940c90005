"""Score the attributions of one batch. Shapes: B batch, K tokens of the layout."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attention_atlas.analysis.faithfulness.curves import Curve, curves, leave_one_out
from attention_atlas.analysis.faithfulness.explain import GRADIENT, Explainer
from attention_atlas.analysis.faithfulness.metrics import (
    Values,
    area,
    kendall,
    mean_drop,
    mean_of_known,
    spearman,
)
from attention_atlas.analysis.faithfulness.probe import Probe
from attention_atlas.analysis.faithfulness.result import BASELINE
from attention_atlas.data.splits import stable_hash
from attention_atlas.encoder import Classifier

LEAVE_ONE_OUT = "leave_one_out"
WITH_ITSELF = {LEAVE_ONE_OUT: "leave_one_out_correlation", GRADIENT: "gradient_correlation"}
"""Correlations of methods with themselves, which are not measured."""
Scores = dict[str, dict[str, list[float | None]]]
"""Values by method and metric, one for each sample; None if not measured."""


@dataclass(frozen=True)
class Options:
    """Options of scoring, as in `measure`."""

    thresholds: tuple[float, ...]
    steps: int
    seed: int
    max_left_out: int
    random_draws: int


def score_batch(probe: Probe, explainer: Explainer, options: Options) -> Scores:
    """Return comprehensiveness, sufficiency, areas and correlations of each method and sample.

    A sample without removable tokens has none. An unsigned attribution has no direction, so it is
    compared with the absolute values of leave-one-out and the gradient (as in Jain & Wallace 2019),
    a signed one with their values. Random attributions are drawn several times and their scores
    averaged, so that no method looks good by a bad draw.
    """
    attributions = explainer(probe.model, probe.batch, probe.layout, probe.target)
    tokens = [np.flatnonzero(row) for row in probe.removable]
    draws = [
        np.random.default_rng(stable_hash("faithfulness", options.seed, sample_id))
        for sample_id in probe.batch["sample_id"]
    ]
    ties = [draw.random(len(own)) for draw, own in zip(draws, tokens, strict=True)]
    left_out = leave_one_out(probe, _chosen(tokens, ties, options.max_left_out))
    references = {
        "leave_one_out_correlation": left_out,
        "gradient_correlation": attributions[GRADIENT],
    }
    judged = {method: attributions[method] for method in explainer.methods}
    judged[LEAVE_ONE_OUT] = left_out
    redrawn = [f"{BASELINE} {number}" for number in range(1, options.random_draws)]
    judged |= {name: _drawn(attributions[BASELINE], tokens, draws) for name in redrawn}
    found = curves(probe, judged, ties, options.thresholds, options.steps)
    scores: Scores = {}
    for method, attribution in judged.items():
        signed = method == LEAVE_ONE_OUT or (
            method not in redrawn and explainer.is_signed(method, probe.model)
        )
        others = {
            metric: None if metric == WITH_ITSELF.get(method) else values
            for metric, values in references.items()
        }
        per_sample = [
            _curve_scores(curve, probe.whole[sample], options, len(own))
            | _correlations(attribution[sample, own], others, signed, sample, own)
            for sample, (curve, own) in enumerate(zip(found[method], tokens, strict=True))
        ]
        scores[method] = {
            metric: [of_sample[metric] for of_sample in per_sample] for metric in per_sample[0]
        }
    scores[BASELINE] = _mean_scores([scores[BASELINE], *(scores.pop(name) for name in redrawn)])
    return scores


def _chosen(
    tokens: Sequence[npt.NDArray[np.int64]], ties: Sequence[Values], count: int
) -> list[npt.NDArray[np.int64]]:
    """Return at most so many tokens of each sample, in their order, by the order of ties."""
    return [own[np.sort(np.argsort(tie)[:count])] for own, tie in zip(tokens, ties, strict=True)]


def _mean_scores(draws: list[dict[str, list[float | None]]]) -> dict[str, list[float | None]]:
    """Return the mean over draws of each metric and sample."""
    return {
        metric: [
            mean_of_known(values) for values in zip(*(draw[metric] for draw in draws), strict=True)
        ]
        for metric in draws[0]
    }


def _drawn(
    like: Values, tokens: Sequence[npt.NDArray[np.int64]], draws: Sequence[np.random.Generator]
) -> Values:
    """Draw new random attributions [B, K] for the removable tokens of each sample."""
    drawn: Values = np.zeros_like(like)
    for row, own, draw in zip(drawn, tokens, draws, strict=True):
        row[own] = draw.random(len(own))
    return drawn


def _curve_scores(
    curve: Curve | None, whole: float, options: Options, num_tokens: int
) -> dict[str, float | None]:
    if curve is None:
        return dict.fromkeys(("comprehensiveness", "sufficiency", "deletion_auc", "insertion_auc"))
    thresholds, steps = options.thresholds, options.steps
    return {
        "comprehensiveness": mean_drop(whole, curve.removed, thresholds, num_tokens),
        "sufficiency": mean_drop(whole, curve.inserted, thresholds, num_tokens),
        "deletion_auc": area(curve.removed, steps, num_tokens),
        "insertion_auc": area(curve.inserted, steps, num_tokens),
    }


def _correlations(
    attribution: Values,
    references: Mapping[str, Values | None],
    signed: bool,
    sample: int,
    tokens: npt.NDArray[np.int64],
) -> dict[str, float | None]:
    """Return the correlations of the attribution of some tokens of a sample with references."""
    found: dict[str, float | None] = {}
    for metric, reference in references.items():
        if reference is None:
            found[metric] = None
            continue
        other = reference[sample, tokens]
        found[metric] = kendall(attribution, other if signed else np.abs(other))
    return found


def cascade(model: Classifier, fresh: Classifier) -> Iterator[tuple[str, Classifier]]:
    """Replace the weights of the parts of a model by untrained ones, one after the other.

    Yields the name of each stage, and a copy of the model in which this part and all before it are
    untrained; it is the same object at each stage.
    """
    changed = copy.deepcopy(model)
    for stage, names in model.stages.items():
        for name in names:
            untrained = fresh.get_submodule(name).state_dict()
            changed.get_submodule(name).load_state_dict(untrained)
        yield stage, changed


def similarity_to_untrained(probe: Probe, explainer: Explainer, fresh: Classifier) -> Scores:
    """Return Spearman's correlation of each attribution with that of partly untrained models.

    They are by method and stage. `probe` holds the trained model, and `fresh` is an untrained one
    of the same config. The class that is explained stays the one that the trained model predicts.
    """
    trained = explainer(probe.model, probe.batch, probe.layout, probe.target)
    tokens = [np.flatnonzero(row) for row in probe.removable]
    found: Scores = {method: {} for method in explainer.methods}
    for stage, model in cascade(probe.model, fresh):
        untrained = explainer(model, probe.batch, probe.layout, probe.target)
        for method in explainer.methods:
            pairs = zip(trained[method], untrained[method], tokens, strict=True)
            found[method][stage] = [
                spearman(before[own], after[own]) for before, after, own in pairs
            ]
    return found
