"""Measure how faithful attributions are to a model.

Letters of shapes: B batch, K tokens of the layout, N samples.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from attention_atlas.analysis.faithfulness.explain import Explain, Explainer
from attention_atlas.analysis.faithfulness.metrics import mean_of_known
from attention_atlas.analysis.faithfulness.probe import MAX_TOKENS, Probe, cut, evaluating, select
from attention_atlas.analysis.faithfulness.removal import Removal
from attention_atlas.analysis.faithfulness.result import MIN_SAMPLES_TO_JUDGE, Faithfulness
from attention_atlas.analysis.faithfulness.scores import (
    LEAVE_ONE_OUT,
    Options,
    Scores,
    score_batch,
    similarity_to_untrained,
)
from attention_atlas.encoder import Classifier
from attention_atlas.encoder.tokens import Batch
from attention_atlas.errors import InputError


def measure(
    model: Classifier,
    batches: Iterable[Batch],
    methods: Sequence[str],
    removal: Removal,
    *,
    thresholds: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5),
    steps: int = 10,
    fresh_model: Callable[[int], Classifier] | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
    own: Mapping[str, Explain] | None = None,
    max_left_out: int = 128,
    random_draws: int = 5,
    randomised_samples: int = 16,
    max_tokens: int = MAX_TOKENS,
    progress: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Measure attribution methods on some samples, for the class that the model predicts.

    Args:
        model: Put into evaluation mode meanwhile.
        batches: Prepared batches; those of texts of similar length are fastest.
        methods: Names as `attribute` takes them. Random and leave-one-out are always measured.
        removal: Removes tokens from the input.
        thresholds: Fractions of the tokens, for comprehensiveness and sufficiency.
        steps: Equal fractions of the tokens, for deletion and insertion.
        fresh_model: Returns an untrained model of the config for a seed; without it there is no
            randomisation check.
        seed: Seed of random attributions, untrained weights, the order of ties, and resamples.
        num_resamples: Number of resamples of the bootstrap.
        own: Custom attributions by name.
        max_left_out: Tokens of a sample that are left out one at a time. That many are drawn from a
            longer sample for the correlation, and leave-one-out is not a method for it.
        random_draws: Random attributions of each sample, whose scores are averaged.
        randomised_samples: On how many samples the randomisation check is made, evenly spaced.
        max_tokens: Tokens of one pass through the model, padding included.
        progress: Called with the samples done and all samples; a sample of the randomisation check
            counts twice.

    Raises:
        InputError: A method is unknown, none applies, an option is out of range, or there are no
            samples.
    """
    _check(thresholds, steps, random_draws)
    batches = list(cut(batches, model))
    ids = [sample_id for batch in batches for sample_id in batch["sample_id"]]
    if not ids:
        raise InputError("There are no samples to measure faithfulness on.")
    again = _evenly_spaced(ids, randomised_samples) if fresh_model else set()
    tick = _counter(progress, len(ids) + len(again))
    options = Options(tuple(thresholds), steps, seed, max_left_out, random_draws)
    methods = [method for method in methods if method != LEAVE_ONE_OUT]
    explainer = Explainer.of(model, methods, own or {}, removal, seed)
    if methods and explainer.refused.keys() >= set(methods):
        raise InputError(f"No method applies: {' '.join(explainer.refused.values())}")

    def probes(some: Iterable[Batch]) -> Iterator[Probe]:
        return (Probe(model, batch, removal, max_tokens) for batch in some)

    similarity: Scores = {}
    with evaluating(model):
        scores, copies = _score(probes(batches), explainer, options, tick)
        if fresh_model:
            part = probes(_only(batches, again))
            similarity = _compare_with_untrained(part, explainer, fresh_model, seed, tick)
    _add_similarity(scores, similarity, ids, again)
    refused = explainer.refused | _drop_unmeasured(scores, similarity, explainer.too_long)
    titles = {method: explainer.title(method) for method in [*explainer.methods, *refused]}
    titles[LEAVE_ONE_OUT] = "leave-one-out"
    return Faithfulness(
        removal=removal.name,
        removal_description=removal.description,
        sample_ids=ids,
        values=scores,
        titles=titles,
        thresholds=list(thresholds),
        steps=steps,
        seed=seed,
        num_resamples=num_resamples,
        random_draws=random_draws,
        randomisation=_means(similarity),
        refused=refused,
        notes=_notes(scores, explainer, len(ids), max_left_out, len(again)),
        num_forward_passes=copies,
    )


def _check(thresholds: Sequence[float], steps: int, random_draws: int) -> None:
    if not thresholds or not all(0 < part <= 1 for part in thresholds):
        raise InputError(
            f"thresholds={list(thresholds)} is not possible: give fractions of the tokens, above 0 "
            "and at most 1."
        )
    for name, count in (("steps", steps), ("random_draws", random_draws)):
        if count < 1:
            raise InputError(f"{name}={count} is not possible: take 1 or more.")


def _evenly_spaced(ids: Sequence[str], count: int) -> set[str]:
    """Return `count` evenly spaced ids, or all."""
    count = min(count, len(ids))
    return {ids[index * len(ids) // count] for index in range(count)}


def _only(batches: Iterable[Batch], ids: set[str]) -> Iterator[Batch]:
    """Yield the samples of these ids, batch by batch."""
    for batch in batches:
        indices = [index for index, name in enumerate(batch["sample_id"]) if name in ids]
        if indices:
            yield select(batch, indices)


def _score(
    probes: Iterable[Probe], explainer: Explainer, options: Options, tick: Callable[[int], None]
) -> tuple[Scores, int]:
    """Return the scores of all batches, and the number of inputs of the model."""
    scores: Scores = {}
    copies = 0
    for probe in probes:
        _extend(scores, score_batch(probe, explainer, options))
        copies += probe.num_copies
        tick(len(probe.whole))
    return scores, copies


def _compare_with_untrained(
    probes: Iterable[Probe],
    explainer: Explainer,
    fresh_model: Callable[[int], Classifier],
    seed: int,
    tick: Callable[[int], None],
) -> Scores:
    """Return rank correlations by method and stage of untrained weights."""
    similarity: Scores = {}
    for number, probe in enumerate(probes):
        # Other weights for each batch: those of one draw may happen to be similar.
        untrained = fresh_model(seed + number).to(probe.target.device).eval()
        _extend(similarity, similarity_to_untrained(probe, explainer, untrained))
        tick(len(probe.whole))
    return similarity


def _extend(scores: Scores, more: Scores) -> None:
    for method, columns in more.items():
        for name, values in columns.items():
            scores.setdefault(method, {}).setdefault(name, []).extend(values)


def _add_similarity(
    scores: Scores, similarity: Scores, ids: Sequence[str], again: set[str]
) -> None:
    """Add the correlation with a model without any trained weight, None if not measured."""
    for method, by_stage in similarity.items():
        in_order = (sample_id for sample_id in ids if sample_id in again)
        last = dict(zip(in_order, by_stage["embedding"], strict=True))
        scores[method]["randomisation_correlation"] = [last.get(sample_id) for sample_id in ids]


def _drop_unmeasured(
    scores: Scores, similarity: Scores, too_long: Mapping[str, str]
) -> dict[str, str]:
    """Remove the methods for which every sample was too long; return why."""
    dropped = {
        method: reason
        for method, reason in too_long.items()
        if method in scores and not _count(scores, method)
    }
    for method in dropped:
        del scores[method]
        similarity.pop(method, None)
    return dropped


def _means(similarity: Scores) -> dict[str, dict[str, float]]:
    """Return the mean over the samples by method and stage, where it is known."""
    return {
        method: {
            stage: mean
            for stage, values in by_stage.items()
            if (mean := mean_of_known(values)) is not None
        }
        for method, by_stage in similarity.items()
    }


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return tick


def _count(scores: Scores, method: str) -> int:
    """Return the number of samples on which a method was measured."""
    return sum(value is not None for value in scores[method]["comprehensiveness"])


def _notes(
    scores: Scores, explainer: Explainer, num_samples: int, max_left_out: int, num_again: int
) -> list[str]:
    """Return notes on what was measured on fewer samples, and why."""
    notes = []
    whole = _count(scores, LEAVE_ONE_OUT)
    if whole < num_samples:
        notes.append(
            f"Leave-one-out as a method was measured on {whole} of {num_samples} samples: those "
            f"with at most {max_left_out} tokens; of the others, {max_left_out} tokens drawn at "
            "random were left out, for the correlation."
        )
    if num_samples < MIN_SAMPLES_TO_JUDGE:
        notes.append(
            f"{num_samples} samples are too few to tell a method from random: take "
            f"{MIN_SAMPLES_TO_JUDGE} at least, better 100."
        )
    if 0 < num_again < num_samples:
        notes.append(f"The randomisation check was made on {num_again} of {num_samples} samples.")
    notes += [
        f"{explainer.title(method).capitalize()} was measured on {_count(scores, method)} of "
        f"{num_samples} samples, the shorter ones."
        for method in explainer.too_long
        if method in scores
    ]
    return notes
