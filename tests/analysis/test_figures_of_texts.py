"""Figures of texts are as large as their text, say where it is cut, and find fonts for it."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from attention_atlas.analysis.faithfulness.figures import attributions_figure
from attention_atlas.analysis.figures import gallery_figure, sample_figure, save, save_figure
from attention_atlas.analysis.figures.text import lines_per_panel
from attention_atlas.analysis.token_weights import View, pick
from attention_atlas.atlas import Atlas, AtlasWriter, Sample, open_atlas
from tests import made_atlases


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def written(folder: Path, text: str, num_tokens: int | None = None) -> tuple[Atlas, Sample]:
    """A sample of that text, of which the model read so many words."""
    ends = np.cumsum([len(word) + 1 for word in text.split()]) - 1
    boxes = np.stack([ends - [len(word) for word in text.split()], ends], axis=1)[:num_tokens]
    count = len(boxes)
    maps = np.full((2, 4, count, count), 1 / count, np.float32)
    made = replace(
        made_atlases.sample("nlp", 0), text=text, boxes=boxes, maps=maps, readout=maps[0, :, 0]
    )
    with AtlasWriter(folder / "atlas.zarr", made_atlases.attributes("nlp"), max_tokens=900) as to:
        to.add([made])
    atlas = open_atlas(folder)
    return atlas, atlas[0]


def test_figure_is_as_wide_as_its_text(tmp_path: Path) -> None:
    widths = []
    for name, text in {"a": "a short one", "b": "word " * 8, "c": "word " * 80}.items():
        atlas, sample = written(tmp_path / name, text.strip())
        weights = {"rollout": np.ones(sample.length)}
        figures = (
            sample_figure(atlas.attributes, sample, pick(sample)),
            attributions_figure(atlas.attributes, sample, weights),
        )
        widths.append([figure.get_figwidth() for figure in figures])
    assert widths[0][0] < 4
    assert widths[0][0] < widths[1][0] < widths[2][0]
    assert widths[0][1] < widths[2][1]


@pytest.mark.parametrize("lines", range(1, 80))
def test_room_for_lines_is_what_was_made_for_them(lines: int) -> None:
    assert lines_per_panel(0.75 + 0.025 * 10 * lines - 0.75) == lines


def test_text_that_is_drawn_in_part_says_how_much(tmp_path: Path) -> None:
    atlas, sample = written(tmp_path, " ".join(f"word{n}" for n in range(300)))
    weights = {"rollout": np.ones(sample.length)}
    for figure in (
        attributions_figure(atlas.attributes, sample, weights),
        gallery_figure([(atlas, sample)]),
    ):
        shown = words(figure).splitlines()
        count = len({word for word in shown if word.startswith("word")})
        assert count < 300
        assert f"… (first {count} of 300 tokens)" in shown
    whole = words(sample_figure(atlas.attributes, sample, pick(sample)))
    assert "word299" in whole
    assert "of 300 tokens" not in whole


def test_text_that_the_model_read_in_part_says_so(tmp_path: Path) -> None:
    atlas, sample = written(tmp_path / "a", "one two three four", 3)
    shown = words(sample_figure(atlas.attributes, sample, pick(sample)))
    assert "(the text continues; the model read 3 tokens)" in shown
    atlas, sample = written(tmp_path / "b", "one two three four")
    assert "goes on" not in words(sample_figure(atlas.attributes, sample, pick(sample)))


def test_scale_that_ends_above_the_weights_says_why(tmp_path: Path) -> None:
    atlas, sample = written(tmp_path, "one two three four")
    for weights, is_said in (([0.25] * 4, True), ([0.7, 0.1, 0.1, 0.1], False)):
        view = View(np.array(weights, np.float32), "made")
        figure = sample_figure(atlas.attributes, sample, view)
        assert figure.axes[-1].get_ylim()[1] == pytest.approx(0.5 if is_said else 0.7)
        assert ("darkest: 2 × uniform weight" in words(figure)) == is_said


def test_every_text_of_several_methods_tells_its_scale(tmp_path: Path) -> None:
    atlas, sample = written(tmp_path, "one two three")
    weights = {"rollout": np.array([0.1, 0.2, 0.7]), "raw": np.array([2.0, 5.0, 3.0])}
    shown = words(attributions_figure(atlas.attributes, sample, weights))
    assert "rollout, darkest: 0.7" in shown
    assert "raw, darkest: 5" in shown
    assert "Each text has its own colours" in shown


def test_fonts_that_are_installed_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(save, "FALLBACKS", ("Font of nobody", "STIXGeneral"))
    figure = Figure()
    plain, foreign = figure.text(0.1, 0.1, "plain"), figure.text(0.1, 0.5, "naïve")
    save_figure(figure, tmp_path / "a.png")
    assert foreign.get_fontfamily()[-1] == "STIXGeneral"
    assert "STIXGeneral" not in plain.get_fontfamily()
    assert "Font of nobody" not in foreign.get_fontfamily()
    assert not caplog.records


def test_signs_without_a_font_are_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    figure = Figure()
    for place in (0.2, 0.4):
        figure.text(place, 0.5, "\U000f1234")  # of private use: no font has it
    with caplog.at_level(logging.WARNING):
        save_figure(figure, tmp_path / "a.png")
    (sentence,) = caplog.messages
    assert "\U000f1234" in sentence
    assert "no installed font" in sentence
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
