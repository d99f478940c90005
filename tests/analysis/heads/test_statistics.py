"""Statistics of heads over whole atlases of every layout and variant."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attention_atlas.analysis.heads import STATISTICS, head_statistics
from attention_atlas.analysis.heads.figure import heads_figure
from attention_atlas.analysis.heads.per_sample import Moments
from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases

UNITS = {"nlp": "characters", "vision": "pixels", "speech": "seconds"}


def explicit_relative_entropy(rows: np.ndarray) -> float:
    """Of rows [Q, K] that sum to less than 1, in loops."""
    found = []
    for row in rows.astype(np.float64):
        shares = [weight / sum(row) for weight in row if weight > 0]
        found.append(-sum(share * np.log(share) for share in shares) / np.log(len(row)))
    return float(np.mean(found))


def explicit(path: Path, statistic: str) -> np.ndarray:
    """A statistic of each head, in loops over samples, layers, heads and queries in float64."""
    found = []
    for sample in open_atlas(path):
        if not sample.has_maps:
            continue
        maps = np.abs(sample.maps.astype(np.float64))
        if sample.signed:
            maps /= maps.sum(-1, keepdims=True)
        values = np.zeros(maps.shape[:2])
        for place in np.ndindex(*values.shape):
            head = maps[place]
            if statistic == "maximum":
                values[place] = np.mean([max(row) for row in head])
            elif statistic == "sink_score":
                values[place] = max(head.mean(0))
            elif statistic == "sink_rate":
                values[place] = max(head.mean(0)) > 0.3
            else:
                values[place] = np.mean([_distance(row, i, sample) for i, row in enumerate(head)])
        found.append(values)
    return np.array(found)


def _distance(row: np.ndarray, query: int, sample: object) -> float:
    boxes = sample.boxes.astype(np.float64)
    if boxes.shape[1] == 2:
        centres = boxes.mean(1, keepdims=True)
    else:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        if boxes[0, 3] == 8000:
            centres = centres[:, :1]
    steps = np.sqrt(((centres - centres[query]) ** 2).sum(1))
    return float((row * steps).sum() / row.sum())


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
@pytest.mark.parametrize("variant", [None, "null_key", "differential"])
def test_statistics_equal_loops(task: str, variant: str | None, tmp_path: Path) -> None:
    made_atlases.write(tmp_path, task, variant=variant)
    statistics = head_statistics(open_atlas(tmp_path))
    unit = UNITS[task]
    for name in ("maximum", "sink_score", "sink_rate", f"distance_{unit}"):
        values = explicit(tmp_path, name)
        np.testing.assert_allclose(statistics.mean[name], values.mean(0), rtol=2e-5)
        np.testing.assert_allclose(statistics.deviation[name], values.std(0), rtol=2e-3, atol=1e-6)
        assert statistics.num_samples[name] == 3
        assert STATISTICS[name].unit in ("", unit)
    assert ("null_share" in statistics.mean) == (variant == "null_key")
    assert any("signed" in note for note in statistics.notes) == (variant == "differential")


def test_kept_entropies_are_of_all_samples(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "nlp")
    atlas = open_atlas(tmp_path)
    statistics = head_statistics(atlas)
    entropies = np.array([sample.entropy for sample in atlas], np.float64)
    relative = np.array([s.entropy / np.log(s.length) for s in atlas], np.float64)
    readout = np.array([sample.readout_entropy for sample in atlas], np.float64)
    np.testing.assert_allclose(statistics.mean["entropy"], entropies.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.mean["relative_entropy"], relative.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.readout_mean["entropy"], readout.mean(0), rtol=1e-6)
    assert statistics.num_samples["entropy"] == len(atlas) == 6
    highest = np.array([sample.readout.max(-1) for sample in atlas])
    np.testing.assert_allclose(statistics.readout_mean["maximum"], highest.mean(0), rtol=1e-6)


def test_relative_entropy_with_a_null_key_is_of_rows_divided_by_their_sum(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "nlp", variant="null_key")
    atlas = open_atlas(tmp_path)
    statistics = head_statistics(atlas)
    mapped = [sample.maps for sample in atlas if sample.has_maps]
    wanted = [
        [[explicit_relative_entropy(head) for head in layer] for layer in maps] for maps in mapped
    ]
    relative = statistics.mean["relative_entropy"]
    np.testing.assert_allclose(relative, np.mean(wanted, 0), rtol=1e-4)
    assert statistics.num_samples["relative_entropy"] == len(mapped) == 3
    rows = [[explicit_relative_entropy(row[None]) for row in sample.readout] for sample in atlas]
    of_readout = statistics.readout_mean["relative_entropy"]
    np.testing.assert_allclose(of_readout, np.mean(rows, 0), rtol=1e-5)
    entropies = np.array([sample.entropy for sample in atlas], np.float64)
    np.testing.assert_allclose(statistics.mean["entropy"], entropies.mean(0), rtol=1e-6)
    shares = np.array([sample.null_share for sample in atlas], np.float64)
    np.testing.assert_allclose(statistics.mean["null_share"], shares.mean(0), rtol=1e-6)


def test_equal_weights_beside_a_null_key_are_uniform(tmp_path: Path) -> None:
    third = np.float32(1 / 3)
    entropy = np.float32(2 / 3 * np.log(3))  # above log 2
    even = replace(
        made_atlases.sample("nlp", 0, variant="null_key"),
        boxes=np.array([[0, 1], [2, 3]]),
        readout=np.full((4, 2), third),
        readout_entropy=np.full(4, entropy),
        readout_null_share=np.full(4, third),
        entropy=np.full((2, 4), entropy),
        null_share=np.full((2, 4), third),
        maps=np.full((2, 4, 2, 2), third),
    )
    attributes = made_atlases.attributes("nlp", variant="null_key")
    with AtlasWriter(tmp_path / "atlas.zarr", attributes, max_tokens=64) as writer:
        writer.add([even])
    statistics = head_statistics(open_atlas(tmp_path))
    np.testing.assert_allclose(statistics.mean["relative_entropy"], 1, rtol=1e-6)
    np.testing.assert_allclose(statistics.readout_mean["relative_entropy"], 1, rtol=1e-6)
    np.testing.assert_allclose(statistics.mean["sink_score"], 1 / 3, rtol=1e-3)
    assert statistics.notes == []  # two tokens, yet the sink score may be as low as 0


def test_relative_entropy_beside_a_null_key_needs_full_maps(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "nlp", mapped=0, variant="null_key")
    statistics = head_statistics(open_atlas(tmp_path))
    assert np.isnan(statistics.mean["relative_entropy"]).all()
    assert "relative_entropy" not in statistics.overall()
    assert "relative_entropy" in statistics.overall_readout()
    assert "relative entropy, maximum, distance" in statistics.notes[0]
    json.dumps(statistics.to_json(), allow_nan=False)
    assert heads_figure(statistics).get_axes()


def test_without_maps_the_entropies_are_there_and_a_note_says_the_rest(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "vision", mapped=0)
    statistics = head_statistics(open_atlas(tmp_path))
    assert list(statistics.mean) == ["entropy", "relative_entropy"]
    assert "capture=full" in statistics.notes[0]
    assert heads_figure(statistics).get_axes()


def test_a_token_alone_has_no_relative_entropy(tmp_path: Path) -> None:
    one = made_atlases.sample("nlp", 0)
    boxes, row = one.boxes[:1], np.ones((4, 1), np.float32)
    maps = np.ones((2, 4, 1, 1), np.float32)
    alone = replace(one, sample_id="alone", boxes=boxes, readout=row, maps=maps)
    with AtlasWriter(tmp_path / "atlas.zarr", made_atlases.attributes("nlp"), max_tokens=64) as w:
        w.add([alone, made_atlases.sample("nlp", 1)])
        w.add([replace(alone, sample_id="without maps", maps=None)])
    statistics = head_statistics(open_atlas(tmp_path))
    other = open_atlas(tmp_path).sample("nlp-0001")
    assert statistics.num_samples["relative_entropy"] == 1
    expected = other.entropy / np.log(other.length)
    np.testing.assert_allclose(statistics.mean["relative_entropy"], expected, rtol=1e-6)
    assert "3 tokens or fewer, 1 of 2 with full maps," in statistics.notes[0]


def test_what_is_not_known_is_left_out_of_the_overall_means(tmp_path: Path) -> None:
    one = made_atlases.sample("nlp", 0)
    row, maps = np.ones((4, 1), np.float32), np.ones((2, 4, 1, 1), np.float32)
    nowhere = replace(one, boxes=np.zeros((1, 2), int), readout=row, maps=maps)
    with AtlasWriter(tmp_path / "atlas.zarr", made_atlases.attributes("nlp"), max_tokens=64) as w:
        w.add([nowhere])
    statistics = head_statistics(open_atlas(tmp_path))
    assert np.isnan(statistics.mean["distance_tokens"]).all()
    assert set(statistics.overall()) == {"entropy", "maximum", "sink_score", "sink_rate"}
    assert set(statistics.overall_readout()) == {"entropy", "maximum"}
    assert heads_figure(statistics).get_axes()


def test_the_encoder_may_have_no_layers(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "nlp", layers=0)
    statistics = head_statistics(open_atlas(tmp_path))
    assert statistics.mean["entropy"].shape == (0, 4)
    assert len(statistics.readout_mean["entropy"]) == 4
    assert statistics.overall() == {}
    assert heads_figure(statistics).get_axes()


def test_an_epoch_can_be_chosen(tmp_path: Path) -> None:
    samples = [made_atlases.sample("nlp", number, epoch=number) for number in (0, 1)]
    with AtlasWriter(tmp_path / "atlas.zarr", made_atlases.attributes("nlp"), max_tokens=64) as w:
        w.add(samples)
    atlas = open_atlas(tmp_path)
    for epoch in (0, 1):
        statistics = head_statistics(atlas, epoch=epoch)
        assert statistics.epoch == epoch
        np.testing.assert_allclose(statistics.mean["entropy"], samples[epoch].entropy, rtol=1e-6)
    with pytest.raises(InputError, match="no epoch 7"):
        head_statistics(atlas, epoch=7)


def test_progress_ends_with_all_steps(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "vision")
    steps: list[tuple[int, int]] = []
    head_statistics(open_atlas(tmp_path), progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (9, 9)  # 6 samples, and the maps of 3
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_json_holds_every_statistic_with_its_unit(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "speech")
    statistics = head_statistics(open_atlas(tmp_path))
    content = json.loads(json.dumps(statistics.to_json(), allow_nan=False))
    assert content["statistics"]["distance_seconds"]["unit"] == "seconds"
    assert np.shape(content["statistics"]["sink_score"]["mean"]) == (2, 4)


def test_moments_leave_out_what_is_not_known() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan], [8.0, np.nan]])
    moments = Moments((2,))
    for row in values:
        moments.add(row)
    assert moments.count.tolist() == [3, 0]
    np.testing.assert_allclose(moments.mean, [4.0, np.nan])
    np.testing.assert_allclose(moments.deviation, [np.std([1, 3, 8]), np.nan])


@pytest.mark.parametrize("variant", [None, "null_key"])
def test_figure_has_a_panel_with_its_unit_for_each_statistic(
    variant: str | None, tmp_path: Path
) -> None:
    made_atlases.write(tmp_path, "vision", variant=variant)
    statistics = head_statistics(open_atlas(tmp_path))
    figure = heads_figure(statistics)
    titles = [axes.get_title(loc="left") for axes in figure.get_axes()]
    assert {"entropy (nats)", "distance (tokens)", "distance (pixels)"} <= set(titles)
    assert ("null share" in titles) == (variant == "null_key")
    (entropy,) = (a for a in figure.get_axes() if a.get_title(loc="left") == "entropy (nats)")
    rows = entropy.get_images()[0].get_array()
    np.testing.assert_allclose(rows[:2], statistics.mean["entropy"])
    np.testing.assert_allclose(rows[2], statistics.readout_mean["entropy"])
    assert [label.get_text() for label in entropy.get_yticklabels()] == ["0", "1", "readout"]


def test_figure_has_panels_of_importance_and_of_pairs(tmp_path: Path) -> None:
    made_atlases.write(tmp_path, "speech")
    statistics = head_statistics(open_atlas(tmp_path))
    importance = np.arange(8.0).reshape(2, 4), np.array([9.0, 1, 2, 3])
    heads, layers = np.eye(8), np.array([[1, 0.25], [0.25, 1]])
    pairs = [("CKA of heads", "head", heads), ("agreement", "layer", layers)]
    plain = heads_figure(statistics)
    figure = heads_figure(statistics, importance, pairs)
    panels = {axes.get_title(loc="left"): axes for axes in figure.get_axes()}
    before = {axes.get_title(loc="left") for axes in plain.get_axes()}
    assert set(panels) - before == {"importance", "CKA of heads", "agreement"}
    drawn = panels["importance"].get_images()[0]
    np.testing.assert_array_equal(drawn.get_array(), np.vstack(importance))
    assert drawn.get_clim() == (0, 9)
    named = [label.get_text() for label in panels["CKA of heads"].get_xticklabels()]
    assert named == ["0.0", "0.1", "0.2", "0.3", "1.0", "1.1", "1.2", "1.3"]
    np.testing.assert_array_equal(panels["agreement"].get_images()[0].get_array(), layers)
    assert [label.get_text() for label in panels["agreement"].get_yticklabels()] == ["0", "1"]
