"""The figure of a comparison says what it draws, fits its page, and cuts no word."""

import json
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from attention_atlas.analysis.comparison import Comparison, compare_runs
from attention_atlas.analysis.comparison.figure import DEFAULT_METHODS, MAX_COLUMNS, compare_figure
from attention_atlas.analysis.faithfulness import METRICS, Faithfulness
from tests.analysis.comparison.test_compare_runs import make_run

METHODS = ("readout", "raw", "rollout", "gradient_rollout", "integrated_gradients")


def measure(run: Path, offset: float) -> None:
    numbers = [0.1 + offset, 0.2 + offset, 0.15 + offset]
    values = {method: dict.fromkeys(METRICS, numbers) for method in METHODS}
    values["random"] = {metric: [0.1, 0.1, 0.1] for metric in METRICS}
    measured = Faithfulness(
        removal="mask",
        removal_description="the mask token",
        sample_ids=["a", "b", "c"],
        values=values,
        titles={method: method for method in values},
        thresholds=[0.1],
        steps=10,
    )
    (run / "faithfulness.json").write_text(json.dumps(measured.to_json()))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two mechanisms, one of them with two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        make_run(folder / "a", 0.9),
        make_run(folder / "b", 0.91, seed=1),
        make_run(folder / "c", 0.7, score="cosine"),
    ]
    for number, run in enumerate(runs):
        measure(run, 0.1 * number)
    return compare_runs(runs)


def words(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())


def panels(figure: Figure) -> dict[str, Axes]:
    """By label, with its lines joined."""
    return {" ".join(axes.get_xlabel().split()): axes for axes in figure.axes if axes.get_visible()}


def test_default_panels_are_said_and_so_is_what_is_left_out(comparison: Comparison) -> None:
    figure = compare_figure(comparison)
    drawn = [label for label in panels(figure) if label.startswith("comprehensiveness")]
    assert drawn == [f"comprehensiveness over random of {method}" for method in DEFAULT_METHODS]
    assert "not drawn here: comprehensiveness over random of raw." in words(figure)
    chosen = compare_figure(comparison, ["accuracy"])
    assert "not drawn" not in words(chosen)


def test_every_mark_that_is_drawn_is_explained(comparison: Comparison) -> None:
    shown = words(compare_figure(comparison))
    marks = ("mean", "the best", "interval of 95 %", "a single run (seed)", "chance")
    for mark in marks:
        assert mark in shown
    alone = words(compare_figure(comparison, ["heads.sink_score"]))
    for mark in ("the best", "chance"):  # there is none of either
        assert mark not in alone


def test_chance_is_a_line_at_zero_that_can_be_seen(comparison: Comparison) -> None:
    names = ["accuracy", "faithfulness.readout.sufficiency"]
    accuracy, sufficiency = panels(compare_figure(comparison, names)).values()
    at_zero = [line for line in sufficiency.get_lines() if list(line.get_xdata()) == [0, 0]]
    assert len(at_zero) == 1
    low, high = sufficiency.get_xlim()
    assert low <= 0 <= high
    assert not [line for line in accuracy.get_lines() if list(line.get_xdata()) == [0, 0]]


@pytest.mark.parametrize("count", [1, 5, 8, 11])
def test_figure_is_no_wider_than_a_page_and_no_word_is_cut(
    comparison: Comparison, count: int
) -> None:
    names = [f"faithfulness.{method}.comprehensiveness" for method in METHODS]
    names += ["faithfulness.integrated_gradients.leave_one_out_correlation", "accuracy"]
    names += [
        "readout.relative_entropy",
        "heads.relative_entropy",
        "heads.sink_score",
        "cpu_seconds",
    ]
    figure = compare_figure(comparison, names[:count])
    figure.draw_without_rendering()
    assert figure.get_figwidth() < 10.5
    visible = panels(figure).values()
    assert len(visible) == count
    assert len({round(axes.get_position().x0, 3) for axes in visible}) <= MAX_COLUMNS
    width, height = figure.get_size_inches() * figure.dpi
    (legend,) = figure.findobj(Legend)
    shown = [*legend.get_texts(), *figure.subfigs[-1].texts]
    shown += [axes.xaxis.label for axes in visible]
    assert len(shown) > count
    for text in shown:
        box = text.get_window_extent()
        assert box.x0 > -1, text
        assert box.x1 < width + 1, text
        assert box.y0 > -1, text
        assert box.y1 < height + 1, text


def test_task_without_a_quantity_says_so(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a"), make_run(tmp_path / "b", task="speech")
    measure(first, 0.1)
    names = ["accuracy", "faithfulness.readout.comprehensiveness"]
    figure = compare_figure(compare_runs([first, second]), names)
    assert words(figure).count("not measured") == 1
