"""The files of a sweep, its words, and its figure."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from attention_atlas.analysis.sweeps import (
    print_sweep,
    read_sweep,
    sweep_problems,
    sweep_tables,
    write_sweep,
)
from attention_atlas.analysis.sweeps.figure import sweep_figure
from attention_atlas.errors import InputError
from tests.made_sweeps import write_job, write_known


@pytest.fixture
def sweep(tmp_path):
    """Two settings with two seeds, one that failed, and names with odd signs."""
    folder = tmp_path / 'a "sweep", [odd] $x$'
    for number, value in enumerate((0.5, 0.75, 0.25, None)):
        overrides = [f"data.path='a, \"b\"_{number // 2}$.csv'", f"seed={number % 2}"]
        result = None if value is None else {"val/accuracy": value, "seed": number % 2}
        failure = "Two\nlines\x1b[2J." if value is None else None
        write_job(folder, f"job,{number}", overrides, result, failure, ended=number)
    return folder


def strict(text):
    """The JSON in a text, without what is none, such as NaN."""

    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_json_says_what_was_read(sweep):
    written = write_sweep(sweep)
    content = strict((sweep / "sweep.json").read_text(encoding="utf-8"))
    assert content["sweep"] == sweep.name
    assert content["metric"] == "val/accuracy"
    assert content["higher_is_better"] is True
    assert [trial["rank"] for trial in content["trials"]] == [1, 2, 3, None]
    for read, trial in zip(content["trials"], written.trials, strict=True):
        assert (read["name"], read["state"]) == (trial.name, trial.state.value)
        assert (read["value"], read["failure"]) == (trial.value, trial.failure)
        assert read["parameters"] == trial.parameters
    assert [setting["mean"] for setting in content["settings"]] == [0.625, 0.25]
    assert content["spread_of_seeds"] == pytest.approx(0.125 * 2**0.5)
    assert content["importance"] is None
    assert "7 more" in content["why_no_importance"]


def test_csv_says_the_same(sweep):
    write_sweep(sweep)
    with (sweep / "sweep.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    trials = json.loads((sweep / "sweep.json").read_text())["trials"]
    assert [row["name"] for row in rows] == [trial["name"] for trial in trials]
    for row, trial in zip(rows, trials, strict=True):
        value = row["val/accuracy"]
        assert (float(value) if value else None) == trial["value"]
        assert row["data.path"] == trial["parameters"]["data.path"]
        assert row["seed"] == ("" if trial["seed"] is None else str(trial["seed"]))
        assert row["failure"] == (trial["failure"] or "")
    assert list(rows[0]).count("seed") == 1


@pytest.mark.slow
def test_files_of_all_trials_and_importance(tmp_path):
    write_sweep(write_known(tmp_path, 12))
    content = strict((tmp_path / "sweep.json").read_text())
    assert sum(content["importance"]["shares"].values()) == pytest.approx(1)
    assert content["why_no_importance"] is None
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        *("sweep.csv", "sweep.json", "sweep.png"),
    ]


def test_no_figure_where_nothing_has_a_value(tmp_path):
    write_job(tmp_path, "a", ["x=1"], failure="No.")
    (tmp_path / "sweep.png").write_bytes(b"of an earlier state")
    written = write_sweep(tmp_path)
    assert not (tmp_path / "sweep.png").exists()
    assert strict((tmp_path / "sweep.json").read_text())["trials"][0]["failure"] == "No."
    with pytest.raises(InputError, match="nothing to draw: no trial of"):
        sweep_figure(written)


def test_printed_tables_keep_all_words_in_a_narrow_terminal(sweep, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_sweep(read_sweep(sweep))
    words = capsys.readouterr().out
    lines = words.splitlines()
    assert lines[0].endswith(": 3 finished, 1 failed; val/accuracy, higher is better")
    assert lines[1].split() == [
        *("rank", "val/accuracy", "(%)", "data.path", "seed", "CPU", "time", "(s)"),
        *("state", "trial"),
    ]
    assert lines[2].split() == ["1", "75.00", "a,", '"b"_0$.csv', "1", "-", "finished", "job,1"]
    assert lines[5].split()[:2] == ["-", "-"]
    place = lines.index("Means over seeds:")
    assert lines[place + 2].split()[:4] == ["1", "62.50", "17.68", "2"]
    assert "spread by 17.68" in words


def test_a_failure_is_one_line_that_moves_no_cursor(sweep):
    (problem,) = sweep_problems(read_sweep(sweep))
    assert problem == f"{sweep / 'job,3'}: Two lines?[2J."


def test_unfinished_jobs_are_counted_and_some_named(tmp_path):
    for number in range(7):
        write_job(tmp_path, f"job-{number}", [])
    (problem,) = sweep_problems(read_sweep(tmp_path))
    assert problem.startswith("7 unfinished, still running or interrupted: job-0, job-1, ")
    assert problem.endswith("job-4 and 2 more.")


@pytest.mark.slow
def test_a_limit_says_what_it_leaves_out(tmp_path):
    trials, importance = sweep_tables(read_sweep(write_known(tmp_path, 12)), limit=2)
    assert trials.foot == ["and 10 more"]
    assert [row[-1] for row in trials.rows] == ["trial-05", "trial-01"]
    assert importance.title == "How much each parameter matters:"
    assert "optimizer.x" in [row[0] for row in importance.rows]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 30])
def test_figures(tmp_path, count):
    write_known(tmp_path, count)
    sweep = write_sweep(tmp_path)
    axes = [each for each in sweep_figure(sweep).axes if each.get_visible()]
    names = [each.get_xlabel() for each in axes]
    assert names[0] == "trials in the order of time"
    if count == 1:
        assert len(names) == 1
    else:
        assert set(names[1:4]) == {"optimizer.x", "attention", "seed"}
    assert (len(names) == 5) == (count == 30)
    (best_so_far,) = [line for line in axes[0].lines if line.get_drawstyle() == "steps-post"]
    values = [trial.value for trial in sweep.in_time]
    assert best_so_far.get_ydata() == pytest.approx(np.minimum.accumulate(values))
    pixels = np.asarray(Image.open(tmp_path / "sweep.png").convert("L"))
    assert pixels.std() > 5


def test_a_pruned_trial_is_never_the_best_so_far(tmp_path):
    write_job(tmp_path, "a", [], {"val/accuracy": 0.9, "pruned": True}, ended=0)
    write_job(tmp_path, "b", [], {"val/accuracy": 0.5}, ended=1)
    write_job(tmp_path, "c", [], {"val/accuracy": 0.6}, ended=2)
    (axes,) = sweep_figure(read_sweep(tmp_path)).axes
    (line,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert np.asarray(line.get_ydata())[1:] == pytest.approx([50, 60])
    assert np.isnan(line.get_ydata()[0])


def test_an_axis_of_rates_is_logarithmic_and_one_of_depths_is_not(tmp_path):
    for number, rate in enumerate((1e-5, 1e-3, 1e-1)):
        overrides = [f"lr={rate}", f"depth={number + 1}", f"long={'a' * 20}{number}{'b' * 20}"]
        write_job(tmp_path, str(number), overrides, {"val/accuracy": 0.5})
    figure = sweep_figure(read_sweep(tmp_path))
    scales = {each.get_xlabel(): each.get_xscale() for each in figure.axes}
    assert scales["lr"] == "log"
    assert scales["depth"] == "linear"
    (long,) = [each for each in figure.axes if each.get_xlabel() == "long"]
    assert [label.get_text()[:3] for label in long.get_xticklabels()] == ["…0b", "…1b", "…2b"]


def test_a_figure_with_odd_names_is_drawn(sweep, caplog):
    write_sweep(sweep)
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")
