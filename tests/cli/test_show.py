"""`atlas show` and `atlas gallery`: one sample with the weights of its tokens."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attention_atlas.atlas import AtlasWriter, CapturedSample, open_atlas
from tests import made_atlases

TRUECOLOR = {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm"}
TASKS = ("nlp", "vision", "speech")


@pytest.fixture
def colours(monkeypatch):
    """A terminal with colours; takes effect after `command` has cleaned the environment."""
    for name, value in TRUECOLOR.items():
        monkeypatch.setenv(name, value)


def write_run(folder: Path, *samples: CapturedSample, layers: int = 2) -> Path:
    attributes = made_atlases.attributes("nlp", layers)
    with AtlasWriter(folder / "atlas.zarr", attributes, max_tokens=64) as writer:
        writer.add(samples)
    return folder


def without_readout(sample: CapturedSample) -> CapturedSample:
    """The sample as a run keeps it whose readout is a plain mean."""
    nothing = np.zeros(0, np.float32)
    return replace(sample, readout=nothing.reshape(0, len(sample.boxes)), readout_entropy=nothing)


def test_show_without_a_sample_takes_one_with_full_maps(printed, refused, tmp_path):
    samples = [made_atlases.sample("nlp", number, maps=number == 2) for number in range(4)]
    run = str(write_run(tmp_path, *samples))
    for choice in ([], ["--layer", "0", "--head", "2"], ["--layer", "1", "--query", "0"]):
        assert "nlp-0002" in printed("show", run, *choice)
    said = refused("show", run, "0", "--layer", "0")
    assert "'nlp-0000' has only its readout row stored" in said
    assert "nlp-0002 (`atlas info" in said
    assert "--mapped` lists all 1)" in said


def test_show_where_no_sample_has_full_maps(printed, refused, tmp_path):
    run = str(write_run(tmp_path, made_atlases.sample("nlp", 3, maps=False)))
    assert "nlp-0003" in printed("show", run)
    assert "capture=full" in refused("show", run, "--layer", "0")


def test_run_whose_readout_is_a_mean(printed, refused, tmp_path):
    samples = [
        without_readout(made_atlases.sample("nlp", number, maps=number == 3))
        for number in (1, 2, 3)
    ]
    run = str(write_run(tmp_path, *samples))
    words = printed("show", run)
    assert "nlp-0003" in words
    assert "layer 1, attention received (mean of queries), mean of 4 heads" in words
    picture = str(tmp_path / "a.png")
    assert "Saved" in printed("gallery", run, "--save", picture)
    for command in (["show", run, "0"], ["gallery", run, "--sample", "0", "--save", picture]):
        assert "nlp-0003 (`atlas info" in refused(*command)


def test_run_without_any_attention(refused, tmp_path):
    sample = without_readout(made_atlases.sample("nlp", 3, layers=0))
    run = write_run(tmp_path, sample, layers=0)
    assert "its encoder has no layers" in refused("show", run)


def test_show_a_text(printed):
    words = printed("show", "outputs/nlp/one", "nlp-0004")
    made = made_atlases.sample("nlp", 4)
    assert "readout, mean of 4 heads" in words
    assert made.text in words
    best = made.readout.mean(0).argmax()
    start, end = made.boxes[best]
    table = words[words.index("represents") :].splitlines()
    assert table[1].split()[2:] == [str(best), made.text[start:end]]
    assert "\x1b" not in words


@pytest.mark.parametrize("task", TASKS)
def test_show_in_colours(printed, colours, task):
    words = printed("show", f"outputs/{task}/one")
    assert "\x1b[38;2;" in words or "48;2;" in words


def test_show_an_image_and_a_sound(printed):
    image = printed("show", "outputs/vision/one", "1", "--layer", "1", "--head", "0")
    assert "layer 1, attention received (mean of queries), head 0" in image
    assert "rows 12-16, columns 12-16" in image
    assert "█" in image
    sound = printed("show", "outputs/speech/one", "2", "--layer", "-1", "--query", "3")
    assert "layer 1, query 3, mean of 4 heads" in sound
    assert "Hz" in sound
    assert "0.92 s" in sound


def test_share_of_the_null_key_is_shown(printed, tmp_path):
    run = str(made_atlases.write(tmp_path, "nlp", variant="null_key"))
    made = made_atlases.sample("nlp", 1, variant="null_key")
    share = made.readout_null_share[2]
    assert f"\nnull key: {share:.2f}\n" in printed("show", run, "1", "--head", "2")
    shown = json.loads(printed("show", run, "1", "--head", "2", "--json"))
    assert shown["null_share"] == pytest.approx(share)
    assert shown["signed"] is False
    assert "null_key yes" in " ".join(printed("info", run).split())


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_negative_weights_are_seen_in_a_terminal(printed, tmp_path, task, monkeypatch):
    run = str(made_atlases.write(tmp_path, task, variant="differential"))
    choice = ["2", "--layer", "0", "--head", "0", "--query", "1"]
    words = printed("show", run, *choice)
    assert "signed weights, which sum to 0.25" in words
    assert "positive weights are ░▒▓█, negative ones .-=#" in words
    table = [line.split() for line in words[words.index("represents") :].splitlines()[1:]]
    made = made_atlases.sample(task, 2, variant="differential").maps[0, 0, 1]
    assert np.abs([float(row[0]) for row in table]).max() == pytest.approx(
        np.abs(made).max(), abs=1e-3
    )
    assert any(float(row[0]) < 0 and "#" in row[1] for row in table)
    for name, value in TRUECOLOR.items():
        monkeypatch.setenv(name, value)
    coloured = printed("show", run, *choice)
    assert "positive weights are blue, negative ones red" in coloured
    colours = [tuple(map(int, found)) for found in re.findall(r"8;2;(\d+);(\d+);(\d+)", coloured)]
    assert any(red > blue + 10 for red, _, blue in colours)
    assert any(blue > red + 10 for red, _, blue in colours)


def test_show_as_json(printed):
    shown = json.loads(printed("show", "outputs/nlp/one", "2", "--json"))
    assert shown["sample_id"] == "nlp-0002"
    assert len(shown["weights"]) == len(shown["tokens"]) == len(shown["boxes"]) == 5
    assert shown["null_share"] is None


@pytest.mark.parametrize(
    ("task", "sign", "place"),
    [
        ("nlp", "»", "the query is marked: »"),
        ("vision", "+", "the query is framed by +: rows 0-4, columns 12-16"),
        ("speech", "+", "the query is framed by +: 0.24-0.32 s, 0-8000 Hz"),
    ],
)
def test_query_is_marked(printed, runs, task, sign, place):
    without = printed("show", f"outputs/{task}/one", "1", "--layer", "0")
    assert "the query is" not in without
    assert sign not in without
    words = printed("show", f"outputs/{task}/one", "1", "--layer", "0", "--query", "3")
    assert place in words
    assert sign in words.split(place)[1]
    if task == "vision":
        picture = [line[:28] for line in words.split("image")[1].splitlines()[1:15]]
        marked = {(row, c) for row, line in enumerate(picture) for c in range(28) if line[c] == "+"}
        # A patch of 4 x 4 pixels in lines of two: its border is all of it.
        assert marked == {(row, column) for row in (0, 1) for column in range(12, 16)}


def test_query_is_marked_in_colours(printed, colours):
    words = printed("show", "outputs/vision/one", "1", "--layer", "0", "--query", "3")
    assert "the query is framed in magenta" in words
    # Of the 4 x 4 pixels 12 are border: 6 in the upper halves of two lines, 6 in the lower ones.
    for layer in ("38", "48"):
        assert len(re.findall(f"{layer};2;255;0;255", words)) == 6


def test_one_of_the_epochs(printed, refused, tmp_path):
    samples = [
        replace(made_atlases.sample("nlp", number), sample_id="same", epoch=epoch)
        for epoch, number in enumerate((4, 7))
    ]
    run = write_run(tmp_path, *samples)
    for epoch, made in enumerate(samples):
        assert made.text in printed("show", run, "same", "--epoch", epoch)
    assert json.loads(printed("show", run, "--json"))["epoch"] == 1
    assert "has no epoch 2: it has 0, 1" in refused("show", run, "--epoch", 2)


def test_runs_at_urls(printed, runs):
    url = f"file://{runs}/outputs/nlp/one"
    assert printed("show", url, "1") == printed("show", "outputs/nlp/one", "1")
    assert json.loads(printed("info", url, "--json"))["samples"] == 6


def test_save_and_gallery(printed, tmp_path):
    figure, picture = tmp_path / "sample.png", tmp_path / "maps.png"
    assert "Saved" in printed("show", "outputs/speech/one", "--save", figure)
    folders = [f"outputs/{task}/one" for task in TASKS]
    assert "Saved" in printed("gallery", *folders, "--save", picture)
    chosen = ["--sample", "nlp-0001", "--sample", "2", "--sample", "speech-0001"]
    shown = json.loads(printed("gallery", *folders, *chosen, "--save", picture, "--json"))
    assert shown["sample_ids"] == ["nlp-0001", "vision-0002", "speech-0001"]
    for file in (figure, picture):
        assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("task", TASKS)
def test_attributions_of_the_model(command, trained_runs, tmp_path, task):
    methods = ["readout", "rollout", "input_gradient", "raw:0.1"]
    options = [part for method in methods for part in ("--method", method)]
    done = command("show", trained_runs[task], "3", *options, "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    sample = open_atlas(trained_runs[task])[3]
    assert shown["sample_id"] == sample.sample_id
    assert list(shown["attributions"]) == methods
    for found in shown["attributions"].values():
        assert len(found["weights"]) == sample.length
    weights = shown["attributions"]["readout"]["weights"]
    np.testing.assert_allclose(weights, sample.readout.mean(axis=0), atol=1e-4)
    layer = shown["attributions"]["raw:0.1"]["weights"]
    np.testing.assert_allclose(layer, sample.maps[0, 1].astype(np.float32).mean(axis=0), atol=2e-3)
    done = command("show", trained_runs[task], "3", *options, columns=60)
    assert done.exit_code == 0
    for title in ("readout row (", "rollout (Abnar & Zuidema 2020)", "input × gradient"):
        assert title in done.stdout
    assert done.stdout.count(sample.sample_id) == 1
    figure = tmp_path / "a.png"
    assert command("show", trained_runs[task], "3", *options, "--save", figure).exit_code == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
