"""Figures are written, labelled, and show the weights that they say they show."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from attention_atlas.analysis.figures import (
    SIGNED_COLOURS,
    comparison_figure,
    gallery_figure,
    sample_figure,
    save_figure,
)
from attention_atlas.analysis.token_weights import pick
from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases


def words(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("nlp", ["attention weight"]),
        ("vision", ["row (pixels)", "column (pixels)", "attention weight"]),
        ("speech", ["time (s)", "frequency (Hz)", "1000", "4000", "attention weight"]),
    ],
)
def test_figure_of_a_sample_is_labelled(tmp_path, task, labels):
    atlas = open_atlas(made_atlases.write(tmp_path, task))
    figure = sample_figure(atlas.attributes, atlas[1], pick(atlas[1], layer=1, head=0))
    save_figure(figure, tmp_path / "new" / "sample.png")
    shown = words(figure)
    for label in [*labels, f"{task}-0001", "layer 1", "head 0", "predicted"]:
        assert label in shown
    with Image.open(tmp_path / "new" / "sample.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_map_of_an_image_has_its_peak_at_the_patch_that_stands_out(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "vision"))
    figure = sample_figure(atlas.attributes, atlas[0], pick(atlas[0]))
    heat = figure.axes[1].images[0].get_array()
    assert {tuple(place // 4) for place in np.argwhere(heat == heat.max())} == {(3, 3)}


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_signed_weights_have_a_scale_centred_at_zero_that_says_so(tmp_path, task):
    run = made_atlases.write(tmp_path / task, task, variant="differential")
    atlas = open_atlas(run)
    view = pick(atlas[1], layer=1, head=0, query=2)
    for figure in (
        sample_figure(atlas.attributes, atlas[1], view),
        gallery_figure([(atlas, atlas[1])]),
    ):
        every = figure.findobj(Axes)
        bar = next(axes for axes in every if "attention weight" in axes.get_ylabel())
        assert bar.get_ylabel().splitlines()[0] == "attention weight (red: negative)"
        low, high = bar.get_ylim()
        assert low == -high < 0
        assert "signed weights, which sum to 0.25" in words(figure)
    red, _, blue, _ = colormaps[SIGNED_COLOURS](0.05)
    assert red > 2 * blue  # as the label says


def test_negative_weights_are_drawn_as_such(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "vision", variant="differential"))
    view = pick(atlas[0], layer=0, head=0, query=0)
    heat = sample_figure(atlas.attributes, atlas[0], view).axes[1].images[0]
    assert heat.get_array().min() == pytest.approx(view.weights.min())
    assert heat.get_array().min() < 0
    assert heat.norm.vmin <= heat.get_array().min()


def test_share_of_the_null_key_stands_in_the_figure(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "vision", variant="null_key"))
    share = atlas[0].readout_null_share.mean()
    for figure in (
        sample_figure(atlas.attributes, atlas[0], pick(atlas[0])),
        gallery_figure([(atlas, atlas[0])]),
    ):
        assert f"null key: {share:.2f}" in words(figure)


def test_what_special_tokens_get_stands_in_the_title(tmp_path):
    made = made_atlases.sample("nlp", 0)
    made.boxes[[0, -1]] = 0
    titles = {}
    for name, first in (("unnamed", []), ("one", ["[CLS]"])):
        attributes = replace(made_atlases.attributes("nlp"), leading_tokens=first)
        with AtlasWriter(tmp_path / name, attributes) as writer:
            writer.add([made])
        (sample,) = open_atlas(tmp_path / name)
        titles[name] = words(sample_figure(attributes, sample, pick(sample)))
    first, last = sample.readout.mean(axis=0)[[0, -1]].tolist()
    assert f"({first + last:.0%} outside the input)" in titles["unnamed"]
    assert f"({first:.0%} on [CLS], {last:.0%} outside the input)" in titles["one"]


def test_of_many_special_tokens_the_title_has_the_sum(tmp_path):
    made = made_atlases.sample("vision", 0)
    made.boxes[:5] = np.nan
    names = ["[CLS]", *[f"[REG{number}]" for number in range(4)]]
    attributes = replace(made_atlases.attributes("vision"), leading_tokens=names)
    with AtlasWriter(tmp_path, attributes) as writer:
        writer.add([made])
    (sample,) = open_atlas(tmp_path)
    assert sample.tokens[:5] == names
    share = sample.readout.mean(axis=0)[:5].sum()
    title = words(sample_figure(attributes, sample, pick(sample)))
    assert f"({share:.0%} outside the input)" in title


def test_gallery_shows_one_sample_of_each_run(tmp_path):
    tasks = ("nlp", "vision", "speech")
    atlases = [open_atlas(made_atlases.write(tmp_path / task, task)) for task in tasks]
    figure = gallery_figure([(atlas, atlas[2]) for atlas in atlases])
    save_figure(figure, tmp_path / "maps.png")
    for task, name in zip(tasks, ("Text", "Image", "Speech"), strict=True):
        assert f"{task}-0002" in words(figure)
        assert f"{name}: label " in words(figure)


def test_panels_of_a_gallery_are_as_high_as_each_other(tmp_path):
    tasks = ("nlp", "vision", "speech")
    atlases = [open_atlas(made_atlases.write(tmp_path / task, task)) for task in tasks]
    figure = gallery_figure([(atlas, atlas[2]) for atlas in atlases])
    save_figure(figure, tmp_path / "maps.png")  # lays the panels out
    text, _, image, _, upper, lower, _ = figure.axes
    boxes = [axes.get_position() for axes in (text, image, upper, lower)]
    extents = [(boxes[0].y0, boxes[0].y1), (boxes[1].y0, boxes[1].y1), (boxes[3].y0, boxes[2].y1)]
    heights = [top - bottom for bottom, top in extents]
    assert min(heights) > 0.75 * max(heights)


def test_short_text_stands_in_larger_letters_in_the_middle_of_its_panel(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "nlp", count=40))
    sizes = {}
    for number in (2, 39):
        axes = gallery_figure([(atlas, atlas[number])]).axes[0]
        rows = [text.get_position()[1] for text in axes.texts]
        assert sum(axes.get_ylim()) == pytest.approx(min(rows) + max(rows))
        sizes[number] = axes.texts[0].get_fontsize()
    assert sizes[2] > sizes[39]


def test_text_longer_than_a_line_is_broken_and_every_token_drawn(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "nlp", count=40))
    sample = atlas[39]
    shown = words(sample_figure(atlas.attributes, sample, pick(sample))).splitlines()
    for token in sample.tokens:
        assert token in shown


def test_unknown_format_and_path_that_cannot_be_written(tmp_path):
    atlas = open_atlas(made_atlases.write(tmp_path, "vision"))
    figure = sample_figure(atlas.attributes, atlas[0], pick(atlas[0]))
    with pytest.raises(InputError, match=r"end it in \.png, \.pdf or \.svg"):
        save_figure(figure, tmp_path / "sample.xyz")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(figure, tmp_path / "file" / "sample.png")


@pytest.fixture
def compared(tmp_path):
    variants = {"plain": None, "null_key": "null_key", "differential": "differential"}
    return [
        (f"{title}: 98.0 %", open_atlas(made_atlases.write(tmp_path / title, "vision", variant=v)))
        for title, v in variants.items()
    ]


def test_comparison_shows_each_run_on_the_same_image(compared):
    figure = comparison_figure(compared, "vision-0001", layer=1, head=2)
    shown = words(figure)
    for words_of_a_run in (*(title for title, _ in compared), "vision-0001", "red: negative"):
        assert words_of_a_run in shown
    assert f"null key: {compared[1][1][1].readout_null_share.mean():.2f}" in shown
    matrices = [axes.images[0] for axes in figure.axes if "layer 1, head 2" in axes.get_xlabel()]
    for matrix, (_, atlas) in zip(matrices, compared, strict=True):
        np.testing.assert_allclose(matrix.get_array(), atlas.sample("vision-0001").maps[1, 2])
    assert [matrix.get_clim()[0] for matrix in matrices[:2]] == [0, 0]
    assert matrices[2].get_clim()[0] == -matrices[2].get_clim()[1]


def test_comparison_of_what_is_not_there(compared):
    with pytest.raises(InputError, match="no head 7"):
        comparison_figure(compared, "vision-0001", head=7)
    with pytest.raises(InputError, match="has only its readout row stored"):
        comparison_figure(compared, "vision-0005")


@pytest.mark.slow
def test_figure_and_table_of_mechanisms_are_drawn_again_from_runs(tmp_path, repository):
    for name in ("cosine", "differential", "null_key"):
        variant = None if name == "cosine" else name
        run = made_atlases.write(tmp_path / "runs" / name, "vision", variant=variant)
        result = {"test/accuracy": 0.975, "num_parameters": 64_000, "cpu_seconds": 101.7}
        (run / "result.json").write_text(json.dumps(result))
    command = [sys.executable, str(repository / "benchmarks" / "mechanisms.py")]
    command += ["--runs", str(tmp_path / "runs"), "--figure", str(tmp_path / "figure.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| cosine | `attention=cosine` | 97.5 % | 64,000 | 102 |" in done.stdout
    written = json.loads((tmp_path / "runs" / "mechanisms.json").read_text())
    assert written["null_key"] == result
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "empty").mkdir()
    command[3] = str(tmp_path / "empty")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
