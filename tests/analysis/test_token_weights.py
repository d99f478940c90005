"""Which weights a picture shows, and where in the input they lie."""

from dataclasses import replace

import numpy as np
import pytest

from attention_atlas.analysis.token_weights import (
    View,
    over_image,
    over_spectrogram,
    pick,
    shown_text,
)
from attention_atlas.atlas import AtlasWriter, CapturedSample, Sample, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases

RECEIVED = "layer 1, attention received (mean of queries), mean of 4 heads"


@pytest.fixture
def keep(tmp_path):
    """Write one sample and read it back."""

    def write_and_read(
        made: CapturedSample, task: str = "nlp", variant: str | None = None
    ) -> Sample:
        attributes = made_atlases.attributes(task, variant=variant)
        path = tmp_path / str(variant)
        with AtlasWriter(path, attributes, max_tokens=64, maps_dtype="float32") as writer:
            writer.add([made])
        return open_atlas(path)[0]

    return write_and_read


def test_readout_layer_head_and_query(keep):
    made = made_atlases.sample("nlp", 5)
    sample = keep(made)
    cases = {
        (None, None, None): (made.readout.mean(0), "readout, mean of 4 heads"),
        (None, 2, None): (made.readout[2], "readout, head 2"),
        (1, None, None): (made.maps[1].mean((0, 1)), RECEIVED),
        (-1, 3, 4): (made.maps[1, 3, 4], "layer 1, query 4, head 3"),
        (0, None, 1): (made.maps[0, :, 1].mean(0), "layer 0, query 1, mean of 4 heads"),
    }
    for (layer, head, query), (weights, description) in cases.items():
        view = pick(sample, layer, head, query)
        np.testing.assert_allclose(view.weights, weights, rtol=1e-6)
        assert view.description == description
        assert view.weights.sum() == pytest.approx(1, abs=1e-5)


def without_readout(number: int, **changes: int) -> CapturedSample:
    """A sample of a run whose readout is a plain mean of its K tokens."""
    made = made_atlases.sample("nlp", number, **changes)
    nothing = np.zeros(0, np.float32)
    return replace(made, readout=nothing.reshape(0, len(made.boxes)), readout_entropy=nothing)


def test_run_without_attention_in_its_readout_shows_its_last_layer(keep):
    made = without_readout(5)
    sample = keep(made)
    view = pick(sample)
    np.testing.assert_allclose(view.weights, made.maps[1].mean((0, 1)), rtol=1e-6)
    assert view.description == f"no attention in the readout, so {RECEIVED}"
    query = pick(sample, query=4, head=3)
    np.testing.assert_allclose(query.weights, made.maps[1, 3, 4], rtol=1e-6)


def test_run_without_any_attention_says_so(tmp_path):
    attributes = made_atlases.attributes("nlp", layers=0)
    with AtlasWriter(tmp_path, attributes, max_tokens=64) as writer:
        writer.add([without_readout(5, layers=0)])
    with pytest.raises(InputError, match="its encoder has no layers"):
        pick(open_atlas(tmp_path)[0])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"layer": 2}, "no layer 2: this sample has 2 layers"),
        ({"layer": -3}, "no layer -3"),
        ({"head": 4}, "no head 4: this sample has 4 heads"),
        ({"layer": 0, "query": 8}, "no query 8: this sample has 8 queries"),
        ({"query": 0}, "give a layer too"),
    ],
)
def test_choice_that_is_not_there(keep, choice, message):
    with pytest.raises(InputError, match=message):
        pick(keep(made_atlases.sample("nlp", 5)), **choice)


def test_patches_that_overlap_share_their_pixels(keep):
    made = made_atlases.sample("vision", 0)
    boxes = np.full((49, 4), np.nan, dtype=np.float32)
    boxes[:2] = [(0, 0, 4, 4), (2, 0, 6, 4)]
    sample = keep(replace(made, boxes=boxes), "vision")
    weights = np.zeros(49)
    weights[:2] = 0.2, 0.6
    heat = over_image(sample, weights)
    np.testing.assert_allclose(heat[[0, 3, 5], 0], [0.2, 0.4, 0.6])
    assert np.isnan(heat[6:]).all()
    assert np.isnan(heat[:, 4:]).all()


def test_time_and_frequency_boxes_lie_on_frames_and_bands(keep):
    attributes = made_atlases.attributes("speech")
    sample = keep(made_atlases.sample("speech", 0), "speech")
    weights = np.arange(sample.length, dtype=float)
    heat = over_spectrogram(sample, weights, attributes)
    assert heat.shape == sample.spectrogram.shape
    np.testing.assert_array_equal(heat[0], np.repeat(weights, 4))
    np.testing.assert_array_equal(heat[0], heat[-1])


def test_text_is_cut_into_tokens_and_what_stands_between(keep):
    boxes = np.array([(0, 0), (2, 5), (5, 7), (8, 9), (8, 9)])
    made = replace(
        made_atlases.sample("nlp", 2, maps=False),
        text="A fil\nms 😀 end",
        boxes=boxes,
        readout=np.full((4, 5), 0.2),
    )
    assert shown_text(keep(made)) == [("fil", 1), (" m", 2), ("s", None), (" ", 3)]


def test_share_of_the_null_key_goes_with_the_weights(keep):
    made = made_atlases.sample("nlp", 5, variant="null_key")
    sample = keep(made, variant="null_key")
    cases = {
        (None, None, None): made.readout_null_share.mean(),
        (None, 2, None): made.readout_null_share[2],
        (1, None, None): made.null_share[1].mean(),
        (0, -1, None): made.null_share[0, 3],
        (1, 3, 4): made.null_share[1, 3],  # made alike for all queries
    }
    for choice, share in cases.items():
        view = pick(sample, *choice)
        assert view.null_share == pytest.approx(share, abs=1e-5)
        assert view.weights.sum() + view.null_share == pytest.approx(1, abs=1e-5)
        assert view.notes == [f"null key: {share:.2f}"]
    assert pick(keep(made_atlases.sample("nlp", 5))).notes == []


def test_signed_weights_say_so_and_have_a_scale_of_two_halves(keep):
    made = made_atlases.sample("nlp", 5, variant="differential")
    sample = keep(made, variant="differential")
    view = pick(sample, layer=0, head=1, query=2)
    assert view.signed
    assert view.notes == ["signed weights, which sum to 0.25"]
    assert View(np.array([0.1, -0.9, 0.05], np.float32), "").darkest == pytest.approx(0.9)


def test_map_without_a_peak_has_a_middling_colour(keep):
    made = made_atlases.sample("nlp", 5)
    flat = keep(replace(made, readout=np.full((4, 8), 1 / 8)))
    assert pick(flat).weights.max() / pick(flat).darkest == pytest.approx(0.5)
    assert View(np.array([0.9, 0.05, 0.05], np.float32), "").darkest == pytest.approx(0.9)
