"""What is made of the measured numbers: files, intervals, sentences, figures."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from attention_atlas.analysis.faithfulness import METRICS, Faithfulness
from attention_atlas.analysis.faithfulness.figures import attributions_figure, faithfulness_figure
from attention_atlas.analysis.faithfulness.measure import measure
from attention_atlas.analysis.faithfulness.removal.text import MaskRemoval
from attention_atlas.analysis.faithfulness.result import bootstrap, verdict
from attention_atlas.analysis.faithfulness.scores import cascade
from attention_atlas.atlas import open_atlas
from attention_atlas.encoder import Classifier
from attention_atlas.errors import InputError
from tests.analysis.attributions.eager import build, one, text
from tests.made_atlases import write

TITLES = {"raw": "raw", "readout": "readout rows", "rollout": "rollout", "random": "random"}


def made(
    gains: dict[str, float], refused: dict[str, str] | None = None, count: int = 20
) -> Faithfulness:
    """Methods that drop p by so much more than random does, and noise."""
    draw = np.random.default_rng(0)
    values = {
        method: {"comprehensiveness": (0.2 + gain + 0.01 * draw.normal(size=count)).tolist()}
        for method, gain in {**gains, "random": 0.0}.items()
    }
    return Faithfulness(
        removal="mask",
        removal_description="the token [MASK]",
        sample_ids=[f"text-{number}" for number in range(count)],
        values=values,
        titles=TITLES,
        thresholds=[0.1],
        steps=10,
        refused=refused or {},
    )


@pytest.fixture(scope="module")
def measured() -> Faithfulness:
    """Of a small model on three texts, one of them too short for correlations."""
    methods = ["readout", "raw", "rollout", "input_gradient", "uniform"]
    return measure(
        build(),
        [text()],
        methods,
        MaskRemoval(),
        fresh_model=untrained,
        num_resamples=50,
        max_left_out=4,
    )


def untrained(seed: int) -> Classifier:
    model = build()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed + 1)
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter)
    return model


def test_a_result_comes_back_from_strict_json(measured: Faithfulness) -> None:
    content = measured.to_json()
    again = Faithfulness.from_json(json.loads(json.dumps(content, allow_nan=False)))
    assert again == measured
    assert again.estimates == measured.estimates
    assert again.to_json() == content
    assert content["verdict"] == verdict(measured)
    missing = measured.values["raw"]["gradient_correlation"]
    assert None in missing, "no sample of one token, so nothing was proven about missing numbers"


def test_a_result_without_any_number_is_strict_json_too() -> None:
    empty = one(text(), 2)
    found = measure(build(), [empty], ["raw"], MaskRemoval(), fresh_model=untrained)
    json.dumps(found.to_json(), allow_nan=False)
    assert found.values["raw"]["gradient_correlation"] == [None]
    assert "gradient_correlation" not in found.estimates["raw"]


@pytest.mark.parametrize("change", [{"format": 2}, {"format": None}, {"values": "gone"}])
def test_something_else_is_no_result(measured: Faithfulness, change: dict[str, object]) -> None:
    content = {**measured.to_json(), **change}
    if "values" in change:
        del content["values"]
    with pytest.raises(InputError, match="This is no"):
        Faithfulness.from_json(content)


def test_rows_hold_what_the_figure_shows(measured: Faithfulness) -> None:
    rows = {(row["method"], row["metric"]): row for row in measured.rows()}
    row = rows["raw", "sufficiency"]
    values = measured.values["raw"]["sufficiency"]
    random = measured.values["random"]["sufficiency"]
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["difference"] == pytest.approx(np.mean(np.subtract(values, random)))
    assert row["low"] <= row["mean"] <= row["high"]
    assert rows["random", "sufficiency"]["difference"] is None
    assert {metric for _, metric in rows} == set(METRICS)


def test_scores_of_one_sample(measured: Faithfulness) -> None:
    scores = measured.scores("b", "deletion_auc")
    place = measured.sample_ids.index("b")
    assert scores["raw"] == measured.values["raw"]["deletion_auc"][place]
    assert "leave_one_out" not in scores  # it has more tokens than were left out
    with pytest.raises(InputError, match="'other'"):
        measured.scores("other")


@pytest.mark.parametrize("size", [8, 40, 200])
def test_the_interval_against_scipy(size: int) -> None:
    """With the percentiles widened for few samples (Hesterberg 2015)."""
    values = np.random.default_rng(1).gamma(2, size=size)
    quantile = stats.t.ppf(0.025, size - 1) * math.sqrt(size / (size - 1))
    level = 1 - 2 * stats.norm.cdf(quantile)
    known = np.concatenate([values, [np.nan]])
    found = bootstrap(known, 20_000, seed=0)
    assert found is not None
    reference = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=20_000,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    # The deviation of a percentile p of m draws is sqrt(p (1 - p) / m) over the density there.
    scale = values.std() / math.sqrt(size)
    tail = (1 - level) / 2
    density = stats.norm.pdf(stats.norm.ppf(tail)) / scale
    noise = 5 * math.sqrt(2 * tail * (1 - tail) / 20_000) / density
    assert noise < 0.2 * (reference.high - reference.low)
    assert found.low == pytest.approx(reference.low, abs=noise)
    assert found.high == pytest.approx(reference.high, abs=noise)
    assert found.mean == pytest.approx(values.mean())
    assert found.num_samples == size


def test_the_interval_of_few_numbers() -> None:
    assert bootstrap(np.array([np.nan]), 100, 0) is None
    one_number = bootstrap(np.array([0.3]), 100, 0)
    assert one_number is not None
    assert one_number.low == one_number.mean == one_number.high == 0.3
    assert bootstrap(np.arange(9.0), 100, 0) == bootstrap(np.arange(9.0), 100, 0)
    assert bootstrap(np.arange(9.0), 100, 0) != bootstrap(np.arange(9.0), 100, 1)


def gain(found: Faithfulness, method: str) -> str:
    return str(found.differences[method]["comprehensiveness"])


def test_the_verdict_where_one_beats_random_and_another_does_not() -> None:
    found = made({"readout": 0.3, "rollout": -0.1})
    assert found.better_than_random("readout", "comprehensiveness") is True
    assert found.better_than_random("rollout", "comprehensiveness") is False
    assert verdict(found) == (
        f"Readout rows beat random by {gain(found, 'readout')} on comprehensiveness; rollout "
        f"({gain(found, 'rollout')}) does not."
    )


def test_the_verdict_where_all_beat_random_begins_with_the_best() -> None:
    found = made({"raw": 0.1, "readout": 0.3, "rollout": 0.2})
    best, others = verdict(found).split(gain(found, "readout"))
    assert best.startswith("Readout rows beat")
    assert "rollout and raw" in others
    assert "not" not in others
    assert 0.28 < found.differences["readout"]["comprehensiveness"].mean < 0.32


def test_the_verdict_where_none_does_lists_all() -> None:
    found = made({"readout": 0.0, "raw": -0.2})
    assert found.better_than_random("readout", "comprehensiveness") is None
    assert "nothing beats random" in verdict(found)
    for method in ("readout", "raw"):
        assert f"{TITLES[method]} ({gain(found, method)})" in verdict(found)


@pytest.mark.parametrize(
    ("method", "opening"), [("raw", "Raw beats"), ("readout", "Readout rows beat")]
)
def test_the_verdict_on_a_single_method(method: str, opening: str) -> None:
    found = made({method: 0.3})
    assert verdict(found).startswith(f"{opening} random by {gain(found, method)} ")


def test_the_verdict_on_baselines_alone() -> None:
    found = made({"uniform": 0.1, "leave_one_out": 0.4})
    assert "No method was compared" in verdict(found)


def test_the_verdict_names_what_was_refused() -> None:
    reason = "Rollout does not apply to windows."
    found = made({"raw": 0.3}, refused={"rollout": reason, "flow": "Flow neither."})
    judged, refused = verdict(found).split("Not measured: ")
    assert gain(found, "raw") in judged
    assert "Rollout does not apply to windows" in refused
    assert "Flow neither" in refused


def test_too_few_samples_call_no_method_better() -> None:
    assert made({"raw": 0.3}, count=4).better_than_random("raw", "comprehensiveness") is None
    assert made({"raw": 0.3}, count=5).better_than_random("raw", "comprehensiveness") is True


def test_lower_is_better_for_some_metrics() -> None:
    found = made({"raw": 0.3})
    values = {
        method: {"sufficiency": list(*metrics.values())} for method, metrics in found.values.items()
    }
    other = Faithfulness.from_json({**found.to_json(), "values": values})
    assert other.better_than_random("raw", "sufficiency") is False


def visible(figure: object) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_visible()]


def test_the_figure_of_many_methods(measured: Faithfulness, tmp_path: Path) -> None:
    figure = faithfulness_figure(measured)
    titles = visible(figure)
    assert len(titles) == len(METRICS)
    for title, metric in zip(titles, METRICS.values(), strict=True):
        assert title.startswith(metric.title)
        assert ("→" in title) == metric.higher_is_better
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == [
        measured.titles[method] + " (2 of 3)" * (method == "leave_one_out")
        for method in measured.methods
    ]
    figure.savefig(tmp_path / "figure.png")


def test_the_figure_says_what_was_measured_on_fewer_samples() -> None:
    found = made({"raw": 0.3, "rollout": 0.1, "readout": 0.2})
    found.values["raw"]["comprehensiveness"][5:] = [None] * 15
    for metrics in found.values.values():
        metrics["gradient_correlation"] = [0.5] * 4 + [None] * 16
    figure = faithfulness_figure(found)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["raw (5 of 20)", "rollout", "readout rows", "random"]
    assert "20" not in figure.axes[0].get_title()
    assert "4 of 20 samples" in figure.axes[1].get_title()


def test_the_figure_wants_a_likeness_of_zero(measured: Faithfulness) -> None:
    figure = faithfulness_figure(measured)
    for axes, name in zip(figure.axes, METRICS, strict=False):
        is_likeness = name == "randomisation_correlation"
        words = axes.get_title() + axes.get_xlabel()
        assert ("better →" in words or "← better" in words) == (not is_likeness)
        assert ("0: depends on what was learned" in words) == is_likeness
        dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
        assert [list(line.get_xdata()) for line in dashed] == [[0, 0]] * is_likeness


def test_the_figure_of_a_single_method(tmp_path: Path) -> None:
    figure = faithfulness_figure(made({"raw": 0.3}))
    assert visible(figure) == ["comprehensiveness\nbetter →"]
    figure.savefig(tmp_path / "figure.png")


@pytest.mark.filterwarnings("ignore:Glyph")  # Matplotlib has no font for every character
@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
@pytest.mark.parametrize("count", [1, 6])
def test_the_figure_of_a_sample(task: str, count: int, tmp_path: Path) -> None:
    atlas = open_atlas(write(tmp_path, task))
    sample = atlas[0]
    draw = np.random.default_rng(0)
    weights = {f"method_{n}": draw.normal(size=len(sample.boxes)) for n in range(count)}
    weights["method_0"] = np.zeros(len(sample.boxes))
    figure = attributions_figure(
        atlas.attributes, sample, weights, {"method_0": 0.125}, {"method_0": "first title"}
    )
    figure.savefig(tmp_path / "figure.png")
    axes = [a for a in figure.axes if a.get_visible() and a.get_label() != "<colorbar>"]
    words = [a.get_title("left") + a.get_title("center") for a in axes]
    assert sum("first title" in line and "comprehensiveness 0.1" in line for line in words) == 1
    for n in range(1, count):
        (line,) = [line for line in words if f"method {n}" in line]
        assert "red: against" in line
        assert "comprehensiveness" not in line
    assert sample.sample_id in figure.get_suptitle()


@pytest.mark.parametrize(("task", "axis"), [("vision", "column (pixels)"), ("speech", "time (s)")])
@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.slow
def test_panels_have_a_scale_and_the_lowest_a_numbered_axis(
    task: str, axis: str, count: int, tmp_path: Path
) -> None:
    atlas = open_atlas(write(tmp_path, task))
    sample = atlas[0]
    weights = {f"method_{n}": np.linspace(0, n + 1, len(sample.boxes)) for n in range(count)}
    figure = attributions_figure(atlas.attributes, sample, weights)
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == count + 1
    places = [axes.get_position() for axes in panels]
    for axes, place in zip(panels, places, strict=True):
        is_lowest = not any(
            abs(other.x0 - place.x0) < 0.01 and other.y0 < place.y0 - 0.01 for other in places
        )
        assert (axes.get_xlabel() == axis) == is_lowest
        labels = [label.get_visible() for label in axes.get_xticklabels() if label.get_text()]
        assert any(labels) == is_lowest
    bars = [bar for axes in panels for bar in axes.child_axes]
    assert len(bars) == count
    assert [bar.get_ylim()[1] for bar in bars] == pytest.approx(np.arange(count) + 1)


def test_weights_that_stay_change_nothing() -> None:
    """Under the weights of the same model each method is like itself at each stage."""
    model = build()
    methods = ["readout", "rollout", "input_gradient", "integrated_gradients"]
    found = measure(
        model, [text()], methods, MaskRemoval(), fresh_model=lambda seed: copy.deepcopy(model)
    )
    for method in methods:
        assert list(found.randomisation[method]) == list(model.stages)
        assert set(found.randomisation[method].values()) == {1.0}
    assert found.estimates["readout"]["randomisation_correlation"].mean == 1


def test_new_weights_change_all_but_what_never_looks_at_the_model(measured: Faithfulness) -> None:
    for method in ("random", "uniform"):
        assert set(measured.randomisation[method].values()) == {1.0}
    for method in ("readout", "raw", "rollout", "input_gradient"):
        by_stage = measured.randomisation[method]
        assert list(by_stage) == ["head", "readout", "layer 1", "layer 0", "embedding"]
        assert by_stage["embedding"] < 0.9
    # What attends knows nothing of the head, which the gradient goes through.
    assert measured.randomisation["rollout"]["head"] == 1
    assert measured.randomisation["input_gradient"]["head"] < 0.9
    assert "randomisation_correlation" not in measured.differences["raw"]


def test_the_cascade_ends_at_the_untrained_model() -> None:
    model, fresh = build(), untrained(0)
    before = copy.deepcopy(model.state_dict())
    *_, (stage, last) = cascade(model, fresh)
    assert stage == "embedding"
    torch.testing.assert_close(last.state_dict(), fresh.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
