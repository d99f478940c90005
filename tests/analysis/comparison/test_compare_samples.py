"""Two runs sample by sample."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import jensenshannon

from attention_atlas.analysis.comparison import (
    SampleDifference,
    compare_samples,
    why_not_samples,
)
from attention_atlas.atlas import Atlas, AtlasAttributes, AtlasWriter, CapturedSample, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases


def write(
    folder: Path, samples: list[CapturedSample], attributes: AtlasAttributes | None = None
) -> Atlas:
    attributes = attributes or made_atlases.attributes("nlp")
    with AtlasWriter(folder / "atlas.zarr", attributes, max_tokens=64) as writer:
        writer.add(samples)
    return open_atlas(folder)


def others(task: str, variant: str | None, numbers: range) -> list[CapturedSample]:
    """Samples with the inputs and labels of the first run, and the weights of others."""
    found = []
    for number in numbers:
        sample = made_atlases.sample(task, number, variant=variant)
        generator = np.random.default_rng(1000 + number)
        keys = len(sample.boxes)
        maps = made_atlases.weights(generator, *sample.maps.shape).astype(np.float32)
        readout = made_atlases.weights(generator, 4, keys).astype(np.float32)
        found.append(replace(sample, maps=maps, readout=readout, null_share=sample.null_share))
    return found


def divergence(first: np.ndarray, second: np.ndarray) -> float:
    distances = jensenshannon(first.astype(np.float64), second.astype(np.float64), 2, axis=-1)
    return float(np.mean(np.nan_to_num(distances) ** 2))


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_divergences_equal_loops(task: str, tmp_path: Path) -> None:
    first = open_atlas(made_atlases.write(tmp_path / "a", task, count=4, mapped=4))
    second = write(tmp_path / "b", others(task, None, range(4)), made_atlases.attributes(task))
    found = compare_samples(first, second, max_rows=None)
    layers, heads = [], []
    for sample, difference in zip(first, found.samples, strict=True):
        other = second.sample(sample.sample_id)
        rows = sample.readout.mean(0), other.readout.mean(0)
        assert difference.readout == pytest.approx(divergence(*rows), abs=1e-5)
        one, two = (each.maps.astype(np.float32) for each in (sample, other))
        layers.append([divergence(one[i].mean(0), two[i].mean(0)) for i in range(2)])
        assert difference.layers == pytest.approx(layers[-1], abs=1e-5)
        pairs = np.zeros((2, 4, 4))
        for layer, i, j in np.ndindex(2, 4, 4):
            pairs[layer, i, j] = divergence(one[layer, i], two[layer, j])
        heads.append(pairs)
    assert found.layers == pytest.approx(np.mean(layers, 0), abs=1e-5)
    assert found.readout == pytest.approx(np.mean([s.readout for s in found.samples]))
    for layer, matches in enumerate(found.matches):
        mean = np.mean(heads, 0)[layer]
        places = list(zip(*linear_sum_assignment(mean), strict=True))
        assert [(match.first, match.second) for match in matches] == places
        expected = [mean[place] for place in places]
        assert [match.divergence for match in matches] == pytest.approx(expected, abs=1e-5)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("variant", [None, "null_key", "differential"])
def test_a_run_does_not_differ_from_itself(variant: str | None, tmp_path: Path) -> None:
    atlas = open_atlas(made_atlases.write(tmp_path, "vision", variant=variant))
    found = compare_samples(atlas, atlas)
    assert found.changes == {"same": 6, "fixed": 0, "broken": 0, "changed": 0}
    assert found.readout == pytest.approx(0, abs=1e-6)
    assert found.layers == pytest.approx([0, 0], abs=1e-6)
    assert [[(m.first, m.second) for m in layer] for layer in found.matches] == [
        [(head, head) for head in range(4)]
    ] * 2
    assert (found.num_mapped, found.p_value) == (3, 1.0)
    assert {sample.change for sample in found.samples} == {"same"}


def test_heads_in_another_order_are_found_again(tmp_path: Path) -> None:
    samples = [made_atlases.sample("vision", number) for number in range(3)]
    order = [2, 0, 3, 1]
    turned = [replace(s, maps=s.maps[:, order], readout=s.readout[order]) for s in samples]
    attributes = made_atlases.attributes("vision")
    found = compare_samples(
        write(tmp_path / "a", samples, attributes), write(tmp_path / "b", turned, attributes)
    )
    assert [(m.first, order[m.second]) for m in found.matches[0]] == [(i, i) for i in range(4)]
    assert found.layers == pytest.approx([0, 0], abs=1e-6)


def test_changes_of_predictions(tmp_path: Path) -> None:
    pairs = {"same": (1, 1), "fixed": (0, 1), "broken": (1, 2), "changed": (0, 2)}
    plain = [
        replace(made_atlases.sample("speech", number), sample_id=name, label=1)
        for number, name in enumerate(pairs)
    ]
    first, second = (
        write(
            tmp_path / name,
            [replace(sample, prediction=pairs[sample.sample_id][run]) for sample in plain],
            made_atlases.attributes("speech"),
        )
        for run, name in enumerate("ab")
    )
    found = compare_samples(first, second)
    assert {sample.sample_id: sample.change for sample in found.samples} == {n: n for n in pairs}
    assert found.changes == dict.fromkeys(pairs, 1)
    (broken,) = [sample for sample in found.samples if sample.change == "broken"]
    assert (broken.label, broken.first, broken.second) == ("no", "no", "stop")
    assert found.p_value == 1.0  # one fixed, one broken


def test_mcnemar_counts_fixed_against_broken(tmp_path: Path) -> None:
    plain = [
        replace(made_atlases.sample("nlp", number), label=0, prediction=1) for number in range(6)
    ]
    first = write(tmp_path / "a", plain)
    second = write(tmp_path / "b", [replace(sample, prediction=0) for sample in plain])
    assert compare_samples(first, second).p_value == pytest.approx(2 / 2**6)


def test_only_common_samples_are_compared_in_any_order(tmp_path: Path) -> None:
    samples = [made_atlases.sample("nlp", number) for number in range(6)]
    first, second = write(tmp_path / "a", samples[:5]), write(tmp_path / "b", samples[:2:-1])
    found = compare_samples(first, second)
    assert [sample.sample_id for sample in found.samples] == ["nlp-0003", "nlp-0004"]
    assert (found.only_first, found.only_second) == (3, 1)
    assert found.readout == pytest.approx(0, abs=1e-6)


def test_most_different_samples_come_first(tmp_path: Path) -> None:
    first = open_atlas(made_atlases.write(tmp_path / "a", "nlp", count=5, mapped=5))
    second = write(tmp_path / "b", others("nlp", None, range(5)))
    found = compare_samples(first, second).most_different(3)
    assert len(found) == 3
    assert [s.readout for s in found] == sorted((s.readout for s in found), reverse=True)


def test_divergence_is_that_of_the_readout_or_else_of_the_maps() -> None:
    about = ("id", "cat", "cat", "dog", "broken")
    assert SampleDifference(*about, 0.3, [0.1, 0.2]).divergence == 0.3
    assert SampleDifference(*about, None, [0.1, 0.3]).divergence == pytest.approx(0.2)
    assert SampleDifference(*about).divergence is None


def cut_finer(sample: CapturedSample) -> CapturedSample:
    """The same sample with each token of two letters or more cut in two, its weight too."""
    boxes, shares = [], []
    for token, (start, end) in enumerate(sample.boxes.tolist()):
        middle = (start + end) // 2
        parts = [(start, middle), (middle, end)] if end - start > 1 else [(start, end)]
        boxes += parts
        shares += [(token, (stop - begin) / (end - start)) for begin, stop in parts]
    spread = np.zeros((len(sample.boxes), len(boxes)), np.float32)
    for column, (token, share) in enumerate(shares):
        spread[token, column] = share
    rows = (spread > 0).astype(np.float32).T
    maps = (rows @ sample.maps.astype(np.float32)) @ spread
    return replace(sample, boxes=np.array(boxes), readout=sample.readout @ spread, maps=maps)


def test_the_same_weights_over_finer_tokens_are_no_difference(tmp_path: Path) -> None:
    samples = [made_atlases.sample("nlp", number) for number in range(3)]
    first = write(tmp_path / "a", samples)
    second = write(tmp_path / "b", [cut_finer(sample) for sample in samples])
    assert first[0].length < second[0].length
    found = compare_samples(first, second)
    assert found.readout == pytest.approx(0, abs=1e-5)
    assert found.layers == pytest.approx([0, 0], abs=1e-4)  # maps are kept as float16
    assert found.num_mapped == 3
    assert "3 samples are cut into other tokens" in found.notes[0]


def test_texts_that_differ_are_left_out(tmp_path: Path) -> None:
    sample = made_atlases.sample("nlp", 5)
    longer = replace(cut_finer(sample), text=sample.text + " indeed")
    found = compare_samples(write(tmp_path / "a", [sample]), write(tmp_path / "b", [longer]))
    assert (found.samples[0].readout, found.samples[0].layers) == (None, None)
    assert "their texts differ" in found.notes[0]


def test_runs_with_another_number_of_layers_or_heads(tmp_path: Path) -> None:
    first = open_atlas(made_atlases.write(tmp_path / "a", "vision"))
    deeper = open_atlas(made_atlases.write(tmp_path / "b", "vision", layers=3))
    found = compare_samples(first, deeper)
    assert (found.layers, found.matches) == ([], [])
    assert found.readout is not None
    assert "the runs have 2 and 3" in found.notes[0]
    two = [made_atlases.sample("vision", number, heads=2) for number in range(2)]
    wider = compare_samples(first, write(tmp_path / "c", two, made_atlases.attributes("vision")))
    assert [len(layer) for layer in wider.matches] == [2, 2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "vision"}, "task of the runs differs"),
        ({"data": "imdb"}, "data of the runs differs: 'movie_reviews' and 'imdb'"),
        ({"classes": ["bad", "good"]}, "classes of the runs differ: negative, positive and bad"),
    ],
)
def test_other_tasks_data_or_classes_are_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    samples = [made_atlases.sample("nlp", 1)]
    first = write(tmp_path / "a", samples)
    second = write(tmp_path / "b", samples, replace(made_atlases.attributes("nlp"), **changes))
    assert words in (why_not_samples(first, second) or "")
    with pytest.raises(InputError, match=words):
        compare_samples(first, second)
    assert why_not_samples(first, first) is None


def test_no_common_sample_and_other_labels_are_said(tmp_path: Path) -> None:
    sample = made_atlases.sample("nlp", 1)
    first = write(tmp_path / "a", [sample])
    with pytest.raises(InputError, match="no sample is in both"):
        compare_samples(first, write(tmp_path / "b", [made_atlases.sample("nlp", 2)]))
    with pytest.raises(InputError, match=r"'nlp-0001' is labelled 'positive' .* 'negative'"):
        compare_samples(first, write(tmp_path / "c", [replace(sample, label=0)]))
