"""`atlas stats`: the statistics of heads, as table, figure, file and JSON."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from attention_atlas.analysis.heads import head_similarity, head_statistics, layer_agreement
from attention_atlas.atlas import AtlasWriter, open_atlas
from tests import made_atlases

TASKS = ("nlp", "vision", "speech")


def run_of(task: str) -> str:
    return f"outputs/{task}/one"


@pytest.mark.parametrize("task", TASKS)
def test_every_head_has_a_row(printed, runs, task):
    words = printed("stats", run_of(task))
    lines = [line for line in words.splitlines() if ", head " in line]
    labels = [line.split("\t")[0] for line in lines]
    assert labels == [
        f"{place}, head {head}" for place in ("layer 0", "layer 1", "readout") for head in range(4)
    ]
    mean = head_statistics(open_atlas(runs / run_of(task))).mean["entropy"]
    first = next(line for line in lines if line.startswith("layer 1, head 2"))
    assert float(first.split("\t")[1].split()[0]) == pytest.approx(mean[1, 2], rel=1e-2)
    unit = {"nlp": "distance characters", "vision": "distance pixels", "speech": "distance seconds"}
    assert unit[task] in words


def test_means_of_layers(printed, runs):
    statistics = head_statistics(open_atlas(runs / run_of("vision")))
    lines = printed("stats", run_of("vision"), "--by", "layer").splitlines()
    assert [line.split("\t")[0] for line in lines[:4]] == ["layer", "layer 0", "layer 1", "readout"]
    entropy = float(lines[1].split("\t")[1])
    assert entropy == pytest.approx(statistics.mean["entropy"][0].mean(), rel=1e-2)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_fits_the_terminal(printed, columns):
    for options in ([], ["--by", "layer"], ["--similarity", "cka"]):
        lines = printed("stats", run_of("nlp"), *options, columns=columns).splitlines()
        assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("measure", ["jensen_shannon", "cka"])
def test_similarity(printed, runs, measure):
    atlas = open_atlas(runs / run_of("speech"))
    shown = json.loads(printed("stats", run_of("speech"), "--similarity", measure, "--json"))
    np.testing.assert_allclose(shown["head_similarity"], head_similarity(atlas, measure))
    np.testing.assert_allclose(shown["layer_agreement"], layer_agreement(atlas))
    words = printed("stats", run_of("speech"), "--similarity", measure)
    assert "0.0\t0.1\t0.2\t0.3\t1.0" in words
    assert "Agreement of layers" in words


def test_json_and_csv_hold_the_same_numbers(printed, runs, tmp_path):
    path = tmp_path / "a.csv"
    shown = json.loads(printed("stats", run_of("vision"), "--csv", path, "--json"))
    statistics = head_statistics(open_atlas(runs / run_of("vision")))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(shown["numbers"])
    for row, number in zip(rows, shown["numbers"], strict=True):
        assert row["statistic"] == number["statistic"]
        assert float(row["mean"]) == number["mean"]
        if number["layer"] != "readout":
            place = number["layer"], number["head"]
            assert number["mean"] == statistics.mean[number["statistic"]][place]
            assert number["deviation"] == statistics.deviation[number["statistic"]][place]


def test_what_is_not_a_number_is_null(printed, tmp_path):
    """Samples of one token have no entropy relative to the uniform."""
    made = made_atlases.sample("nlp", 3)
    one_token = replace(
        made,
        boxes=made.boxes[:1],
        readout=np.ones((4, 1), np.float32),
        readout_entropy=np.zeros(4, np.float32),
        entropy=np.zeros((2, 4), np.float32),
        maps=np.ones((2, 4, 1, 1), np.float32),
    )
    attributes = made_atlases.attributes("nlp")
    with AtlasWriter(tmp_path / "atlas.zarr", attributes, max_tokens=8) as writer:
        writer.add([one_token])
    path = tmp_path / "a.csv"
    text = printed("stats", tmp_path, "--json", "--csv", path)
    shown = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    relative = [n["mean"] for n in shown["numbers"] if n["statistic"] == "relative_entropy"]
    assert relative
    assert all(value is None for value in relative)
    assert "nan" not in path.read_text()
    assert "nan" not in printed("stats", tmp_path)


def test_figure(printed, tmp_path):
    printed("stats", run_of("nlp"), "--save", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "panels"),
    [
        (["--importance", "--num-samples", "4"], ["importance"]),
        (["--similarity", "cka"], ["linear CKA of heads", "agreement of layers"]),
        (["--similarity", "jensen_shannon"], ["divergence of heads", "agreement of layers"]),
    ],
)
@pytest.mark.slow
def test_figure_shows_what_was_asked_for(command, trained_runs, tmp_path, options, panels):
    run = trained_runs["vision"]
    for name, chosen in {"plain": [], "more": options}.items():
        done = command("stats", run, *chosen, "--save", tmp_path / f"{name}.svg")
        assert done.exit_code == 0, done.output
    plain, more = ((tmp_path / f"{name}.svg").read_text() for name in ("plain", "more"))
    for panel in panels:
        assert f"<!-- {panel}" in more
        assert f"<!-- {panel}" not in plain


@pytest.mark.parametrize("task", TASKS)
def test_importance_by_the_model_of_the_run(command, trained_runs, task):
    run = trained_runs[task]
    done = command("stats", run, "--importance", "--num-samples", "8", "--json")
    assert done.exit_code == 0, done.output
    numbers = [n for n in json.loads(done.stdout)["numbers"] if n["statistic"] == "importance"]
    assert [(n["layer"], n["head"]) for n in numbers] == [
        (0, 0), (0, 1), ("readout", 0), ("readout", 1)
    ]  # fmt: skip
    assert all(n["mean"] >= 0 for n in numbers)
    assert any(n["mean"] > 0 for n in numbers)
