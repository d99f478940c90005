"""Every metric on models whose answers are known, and against a loop over all that is removed."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attention_atlas.analysis.attributions import attribute
from attention_atlas.analysis.faithfulness import Faithfulness
from attention_atlas.analysis.faithfulness.curves import Curve, curves, leave_one_out
from attention_atlas.analysis.faithfulness.measure import measure
from attention_atlas.analysis.faithfulness.metrics import (
    area,
    count_of,
    kendall,
    mean_drop,
    needed_counts,
    ranking,
    spearman,
)
from attention_atlas.analysis.faithfulness.probe import Probe
from attention_atlas.analysis.faithfulness.removal.text import MaskRemoval
from attention_atlas.data.text.tokenizer import MASK
from attention_atlas.encoder import TokenLayout
from attention_atlas.errors import InputError
from tests.analysis.attributions.eager import build, one, text

THRESHOLDS = (0.01, 0.1, 0.2, 0.5)


class BagOfWords(nn.Module):
    """The logit of class 1 is the sum of a number for each word; that of class 0 is 0."""

    words = torch.tensor([0, 0, 0, 3.0, 2.0, 1.0, -1.0], dtype=torch.float64)

    def __init__(self, special: int = 0) -> None:
        super().__init__()
        self.special = special

    def forward(self, batch: dict[str, Any]) -> Tensor:
        steps = torch.arange(batch["inputs"].shape[1])
        shown = steps < batch["lengths"][:, None]
        logit = (self.words[batch["inputs"]] * shown).sum(dim=1)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)

    def token_layout(self, batch: dict[str, Any]) -> TokenLayout:
        """With as many special tokens before the words as asked for."""
        size, width = batch["inputs"].shape
        starts = torch.arange(width).float()
        boxes = torch.stack([starts, starts + 1], dim=1).expand(size, -1, -1)
        boxes = torch.cat([torch.full((size, self.special, 2), math.nan), boxes], dim=1)
        shown = torch.arange(width) < batch["lengths"][:, None]
        valid = torch.cat([torch.ones(size, self.special, dtype=torch.bool), shown], dim=1)
        return TokenLayout("character_span", boxes, valid)


def bag(*texts: list[int]) -> dict[str, Any]:
    """Texts of words, padded to the longest."""
    lengths = torch.tensor([len(words) for words in texts])
    inputs = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
    for row, words in enumerate(texts):
        inputs[row, : len(words)] = torch.tensor(words, dtype=torch.long)
    return {
        "inputs": inputs,
        "lengths": lengths,
        "sample_id": [str(row) for row in range(len(texts))],
    }


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def ask(probe: Probe, attribution: Sequence[Sequence[float]], steps: int = 4) -> list[Curve | None]:
    ties = [np.arange(count, dtype=float) for count in probe.removable.sum(axis=1)]
    values = {"method": np.array(attribution, dtype=float)}
    return curves(probe, values, ties, THRESHOLDS, steps)["method"]


def test_the_curves_of_a_bag_of_words() -> None:
    """Words of weight 3, 2, 1 and -1, ranked as 1, 3, -1, 2."""
    probe = Probe(BagOfWords(), bag([3, 4, 5, 6]), MaskRemoval())
    assert probe.target.tolist() == [1]
    (curve,) = ask(probe, [[3.0, 1.0, 4.0, 2.0]])
    assert curve is not None
    removed = {0: 5, 1: 4, 2: 1, 3: 2, 4: 0}
    kept = {0: 0, 1: 1, 2: 4, 3: 3, 4: 5}
    assert curve.removed == pytest.approx({k: sigmoid(v) for k, v in removed.items()}, abs=1e-12)
    assert curve.inserted == pytest.approx({k: sigmoid(v) for k, v in kept.items()}, abs=1e-12)
    # Of four words 1, 10 and 20 % are one word, never none; 50 % are two.
    whole = sigmoid(5)
    comprehensiveness = whole - (3 * sigmoid(4) + sigmoid(1)) / 4
    sufficiency = whole - (3 * sigmoid(1) + sigmoid(4)) / 4
    assert mean_drop(whole, curve.removed, THRESHOLDS, 4) == pytest.approx(comprehensiveness)
    assert mean_drop(whole, curve.inserted, THRESHOLDS, 4) == pytest.approx(sufficiency)
    deletion = (sigmoid(5) / 2 + sigmoid(4) + sigmoid(1) + sigmoid(2) + sigmoid(0) / 2) / 4
    insertion = (sigmoid(0) / 2 + sigmoid(1) + sigmoid(4) + sigmoid(3) + sigmoid(5) / 2) / 4
    assert area(curve.removed, 4, 4) == pytest.approx(deletion)
    assert area(curve.inserted, 4, 4) == pytest.approx(insertion)


def test_it_is_the_class_that_is_predicted() -> None:
    """Of a text of one bad word, class 0 is explained: without the word it is less likely."""
    probe = Probe(BagOfWords(), bag([6, 6]), MaskRemoval())
    (curve,) = ask(probe, [[1.0, 0.0]])
    assert curve is not None
    expected = {0: sigmoid(2), 1: sigmoid(1), 2: 0.5}
    assert curve.removed == pytest.approx(expected, abs=1e-12)


def test_leave_one_out_of_a_bag_of_words() -> None:
    probe = Probe(BagOfWords(), bag([3, 4, 5, 6], [5, 3]), MaskRemoval())
    left_out = leave_one_out(probe, [np.array([0, 1, 3]), np.array([1])])
    first = [sigmoid(5) - sigmoid(5 - weight) for weight in (3, 2, 1, -1)]
    expected = [
        [first[0], first[1], math.nan, first[3]],
        [math.nan, sigmoid(4) - sigmoid(1)] + 2 * [math.nan],
    ]
    np.testing.assert_allclose(left_out, expected, atol=1e-12)


def test_special_tokens_and_padding_are_never_removed() -> None:
    """However much weight an attribution gives them."""
    batch = bag([3, 4, 5], [4, 5])
    plain = ask(Probe(BagOfWords(), batch, MaskRemoval()), [[1, 3, 2], [1, 2, 0]])
    probe = Probe(BagOfWords(special=2), batch, MaskRemoval())
    assert probe.removable.tolist() == [
        [False, False, True, True, True],
        [False, False, True, True, False],
    ]
    special = ask(probe, [[9, -9, 1, 3, 2], [-9, 9, 1, 2, 9]])
    assert special == plain
    assert None not in plain
    # Where special tokens have no number the words still have one; a word without one has not.
    assert ask(probe, [[math.nan] * 2 + [1, 3, 2], [9, 9, 1, math.nan, 9]]) == [plain[0], None]


def test_a_text_without_words_has_no_curve() -> None:
    probe = Probe(BagOfWords(), bag([3, 4], []), MaskRemoval())
    first, empty = ask(probe, [[1, 2], [1, 2]])
    assert first is not None
    assert empty is None


def test_equal_attributions_are_ordered_alike_for_all_methods() -> None:
    probe = Probe(BagOfWords(), bag([3, 4, 5, 6, 3]), MaskRemoval())
    ties = [np.array([0.3, 0.1, 0.5, 0.2, 0.4])]  # words 1, 3, 0, 4, 2
    methods = {"none": [0.0] * 5, "all": [7.0] * 5, "first": [9.0, 0, 0, 0, 0]}
    found = curves(probe, {name: np.array([v]) for name, v in methods.items()}, ties, THRESHOLDS, 5)
    assert found["none"] == found["all"]
    (first,) = found["first"]
    assert first is not None
    # The word of weight 3 first, then the others in the order of the ties.
    weights = [3, 2, -1, 3, 1]
    left = [8 - sum(weights[:count]) for count in range(6)]
    expected = {count: sigmoid(logit) for count, logit in enumerate(left)}
    assert first.removed == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("fraction", "num_tokens", "count"),
    [
        (0, 5, 0),
        (0.01, 5, 1),
        (0.01, 1, 1),
        (0.1, 5, 1),
        (0.5, 5, 3),  # half up: not to the even number
        (0.5, 7, 4),
        (0.2, 7, 1),
        (0.2, 8, 2),
        (0.05, 128, 6),
        (1, 7, 7),
        (0.5, 0, 0),
    ],
)
def test_how_many_tokens_a_fraction_is(fraction: float, num_tokens: int, count: int) -> None:
    assert count_of(fraction, num_tokens) == count


def test_needed_counts_leave_out_none_and_all() -> None:
    assert needed_counts((0.01, 1), 4, 8) == [1, 2, 4, 6]
    assert needed_counts((0.5,), 10, 2) == [1]
    assert needed_counts((0.5,), 10, 1) == []


def test_the_area_counts_the_tokens_that_were_really_removed() -> None:
    """Two steps of three tokens are 0, 2 and 3 of them, not 0, 1.5 and 3."""
    curve = {0: 1.0, 1: 100.0, 2: 0.4, 3: 0.1}
    assert area(curve, 2, 3) == pytest.approx((1.0 + 0.4) / 2 * 2 / 3 + (0.4 + 0.1) / 2 / 3)


def test_ranking_by_hand() -> None:
    values, ties = np.array([0.2, -5.0, 0.2, 3.0]), np.array([0.9, 0.1, 0.5, 0.0])
    assert ranking(values, ties).tolist() == [3, 2, 0, 1]


def test_rank_correlations_by_hand() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    b = np.array([1.0, 3.0, 2.0, 4.0])
    assert kendall(a, b) == pytest.approx(4 / 6)  # 5 pairs agree, 1 does not
    assert kendall(a, -a) == pytest.approx(-1)
    # A tie: 5 of 6 pairs agree, none disagrees; tau-b divides by sqrt(6 x 5).
    assert kendall(a, np.array([1.0, 2.0, 2.0, 4.0])) == pytest.approx(5 / math.sqrt(30))
    assert kendall(a, np.ones(4)) == 0
    assert kendall(np.array([1, 2, math.nan]), np.array([1.0, 3.0, 2.0])) == pytest.approx(1)
    assert kendall(np.array([1, math.nan]), np.array([1.0, 2.0])) is None
    assert spearman(a, b) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman(a, np.ones(4)) == 0
    assert spearman(np.ones(4), np.ones(4)) == 1
    assert spearman(a, np.array([1, 2, 3, math.nan])) is None


def tau_b(first: list[float], second: list[float]) -> float:
    """Kendall's tau-b, pair by pair."""

    def sign(value: float) -> int:
        return (value > 0) - (value < 0)

    pairs = list(combinations(range(len(first)), 2))
    a = [sign(first[i] - first[j]) for i, j in pairs]
    b = [sign(second[i] - second[j]) for i, j in pairs]
    agreed = sum(x * y for x, y in zip(a, b, strict=True))
    scale = math.sqrt(sum(map(abs, a)) * sum(map(abs, b)))
    return agreed / scale if scale else 0.0


def by_loop(
    model: nn.Module,
    batch: dict[str, Any],
    weights: list[float],
    gradient: list[float],
    signed: bool,
    steps: int,
) -> dict[str, float]:
    """All metrics of one text, one forward pass after the other."""

    def chance(gone: Sequence[int]) -> float:
        inputs = batch["inputs"].clone()
        inputs[0, list(gone)] = MASK
        with torch.no_grad():
            return float(model({**batch, "inputs": inputs})[0].softmax(0)[target])

    def nearest(fraction: Fraction) -> int:
        return math.floor(fraction * count + Fraction(1, 2))

    with torch.no_grad():
        target = int(model(batch)[0].argmax())
    count = int(batch["lengths"][0])
    order = sorted(range(count), key=lambda token: -weights[token])
    whole = chance([])
    tops = [max(nearest(Fraction(str(part))), 1) for part in THRESHOLDS]
    marks = [nearest(Fraction(step, steps)) for step in range(steps + 1)]
    marks = [max(mark, 1) if step else 0 for step, mark in enumerate(marks)]

    def trapezoids(values: list[float]) -> float:
        return sum(
            (values[at] + values[at + 1]) / 2 * (marks[at + 1] - marks[at]) / count
            for at in range(steps)
        )

    left_out = [whole - chance([token]) for token in range(count)]
    if not signed:
        left_out, gradient = [abs(v) for v in left_out], [abs(v) for v in gradient]
    return {
        "comprehensiveness": sum(whole - chance(order[:top]) for top in tops) / len(tops),
        "sufficiency": sum(whole - chance(order[top:]) for top in tops) / len(tops),
        "deletion_auc": trapezoids([chance(order[:mark]) for mark in marks]),
        "insertion_auc": trapezoids([chance(order[mark:]) for mark in marks]),
        "leave_one_out_correlation": tau_b(weights[:count], left_out),
        "gradient_correlation": tau_b(weights[:count], gradient[:count]),
    }


METHODS = ["readout", "gradient_rollout", "integrated_gradients", "input_gradient", "random"]


@pytest.mark.parametrize("steps", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_classifier_against_a_loop(steps: int) -> None:
    """In float64, of texts of 4, 7 and 1 tokens in one batch."""
    model, batch, removal = build(), text(), MaskRemoval()
    found = measure(
        model,
        [batch],
        METHODS,
        removal,
        thresholds=THRESHOLDS,
        steps=steps,
        num_resamples=1,
        random_draws=1,
    )
    reference = removal.all(batch, model.token_layout(batch))
    weights = attribute(model, batch, METHODS, reference=reference, seed=0)
    for row, sample_id in enumerate(batch["sample_id"]):
        length = int(batch["lengths"][row])
        gradient = weights["input_gradient"][row].tolist()
        for method in METHODS:
            values = weights[method][row].tolist()
            assert len(set(values[:length])) == length, "ties are tested elsewhere"
            signed = method in ("integrated_gradients", "input_gradient")
            expected = by_loop(model, one(batch, row), values, gradient, signed, steps)
            if method == "input_gradient":
                del expected["gradient_correlation"]
            if length == 1:
                expected = {k: v for k, v in expected.items() if "correlation" not in k}
            place = found.sample_ids.index(sample_id)
            measured = {
                metric: values[place]
                for metric, values in found.values[method].items()
                if values[place] is not None
            }
            assert measured == pytest.approx(expected, abs=1e-10), (sample_id, method)


@pytest.mark.slow
def test_random_is_the_mean_over_all_orders() -> None:
    """Of the 24 orders of four tokens, if drawn often enough."""
    model, batch = build(), one(text(), 0)
    count = int(batch["lengths"][0])
    assert count == 4
    given = {"thresholds": THRESHOLDS, "steps": 4, "num_resamples": 1}
    found = measure(model, [batch], [], MaskRemoval(), random_draws=600, **given)
    assert found.random_draws == 600
    gradient = attribute(model, batch, ["input_gradient"])["input_gradient"][0].tolist()
    orders = [
        by_loop(model, batch, list(order), gradient, False, 4) for order in permutations(range(4))
    ]
    for metric in orders[0]:
        values = np.array([order[metric] for order in orders])
        measured = found.values["random"][metric][0]
        assert measured is not None
        assert abs(measured - values.mean()) < 5 * values.std() / math.sqrt(600), metric
        assert values.std() > 0


def test_leave_one_out_is_a_method_of_its_own() -> None:
    model, batch = build(), one(text(), 1)
    found = measure(
        model, [batch], [], MaskRemoval(), thresholds=THRESHOLDS, steps=5, num_resamples=1
    )
    left_out = leave_one_out(Probe(model, batch, MaskRemoval()), [np.arange(7)])[0].tolist()
    gradient = attribute(model, batch, ["input_gradient"])["input_gradient"][0].tolist()
    expected: dict[str, float | None] = {**by_loop(model, batch, left_out, gradient, True, 5)}
    expected["leave_one_out_correlation"] = None
    measured = {name: values[0] for name, values in found.values["leave_one_out"].items()}
    assert measured == pytest.approx(expected, abs=1e-10)


def by_sample(found: Faithfulness) -> dict[tuple[str, str, str], float | None]:
    return {
        (method, metric, sample_id): value
        for method, metrics in found.values.items()
        for metric, values in metrics.items()
        for sample_id, value in zip(found.sample_ids, values, strict=True)
    }


@pytest.mark.parametrize("readout", ["attention", "cls", "mean"])
def test_a_batch_gives_what_each_sample_gives_alone(readout: str) -> None:
    model, batch = build(readout), text()
    methods = ["raw", "input_gradient", "integrated_gradients", "uniform"]
    together = measure(model, [batch], methods, MaskRemoval(), num_resamples=1)
    singles = [one(batch, row) for row in range(3)]
    alone = measure(model, singles, methods, MaskRemoval(), num_resamples=1, max_tokens=1)
    assert set(by_sample(together)) == set(by_sample(alone))
    known = {key: value for key, value in by_sample(together).items() if value is not None}
    other = {key: value for key, value in by_sample(alone).items() if value is not None}
    assert known == pytest.approx(other, abs=1e-10)
    assert together.num_forward_passes == alone.num_forward_passes


def test_the_weight_of_the_class_token_makes_no_difference() -> None:
    model, batch = build("cls"), text()
    own = {
        name: lambda model, batch, target, top=top: torch.cat(
            [torch.full((3, 1), top), (batch["inputs"] % 7).float()], dim=1
        )
        for name, top in {"high": 1e6, "low": -1e6}.items()
    }
    found = measure(model, [batch], [], MaskRemoval(), own=own, num_resamples=1)
    assert found.values["high"] == found.values["low"]
    assert found.values["high"] != found.values["random"]


def test_constant_attributions_score_as_uniform_and_not_by_the_order_of_tokens() -> None:
    model, batch = build(), text()
    own = {
        "constant": lambda model, batch, target: torch.full(batch["inputs"].shape, 5.0),
        "in order": lambda model, batch, target: -torch.arange(7.0).expand(3, -1),
    }

    def scores(seed: int) -> dict[str, list[float | None]]:
        found = measure(model, [batch], ["uniform"], MaskRemoval(), own=own, seed=seed)
        return {name: values["deletion_auc"] for name, values in found.values.items()}

    seeds = [scores(seed) for seed in range(4)]
    for found in seeds:
        assert found["constant"] == found["uniform"]
        assert found["in order"] == seeds[0]["in order"]
    assert len({str(found["uniform"]) for found in seeds}) > 1


def test_long_texts_are_left_out_in_part_for_the_correlation_only() -> None:
    model, batch = build(), text()
    full = measure(model, [batch], ["raw"], MaskRemoval(), num_resamples=1)
    part = measure(model, [batch], ["raw"], MaskRemoval(), num_resamples=1, max_left_out=4)
    place = part.sample_ids.index("b")  # of seven tokens
    assert part.values["leave_one_out"]["comprehensiveness"][place] is None
    assert full.values["leave_one_out"]["comprehensiveness"][place] is not None
    assert part.values["raw"]["comprehensiveness"] == full.values["raw"]["comprehensiveness"]
    assert part.values["raw"]["leave_one_out_correlation"][place] is not None
    assert any("2 of 3 samples" in note for note in part.notes)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"thresholds": ()}, "thresholds="),
        ({"thresholds": (0.0,)}, "thresholds="),
        ({"thresholds": (1.5,)}, "thresholds="),
        ({"steps": 0}, "steps=0"),
        ({"methods": ["readuot"]}, "readuot"),
        ({"batches": []}, "no samples"),
    ],
)
def test_what_cannot_be_measured_is_said(options: dict[str, Any], sentence: str) -> None:
    given = {"batches": [text()], "methods": ["raw"], **options}
    with pytest.raises(InputError, match=sentence):
        measure(build(), given.pop("batches"), given.pop("methods"), MaskRemoval(), **given)


def test_progress_ends_at_the_total() -> None:
    calls: list[tuple[int, int]] = []
    measure(
        build(),
        [text()],
        ["raw"],
        MaskRemoval(),
        fresh_model=lambda seed: build(),
        randomised_samples=2,
        num_resamples=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(3, 5), (5, 5)]
