"""What the figures of an atlas are measured on, and how a time is held against what is allowed."""

from pathlib import Path

import numpy as np
import pytest

from attention_atlas.atlas import AtlasWriter, CapturedSample, open_atlas
from attention_atlas.errors import InputError
from benchmarks.atlases import Made
from benchmarks.figures import missed
from benchmarks.groups import atlas as group
from benchmarks.options import Options
from tests import made_atlases


@pytest.mark.parametrize("layout", ["character_span", "patch_box"])
def test_made_atlas_holds_what_it_says(tmp_path: Path, layout: str) -> None:
    made = Made(layout, samples=30, mapped=7, layers=3)
    atlas = open_atlas(made.write(tmp_path))
    assert len(atlas) == 30
    assert len(atlas.mapped_sample_ids) == 7
    lengths = [sample.length for sample in atlas]
    is_text = layout == "character_span"
    assert (min(lengths) < max(lengths)) is is_text
    assert max(lengths) <= made.tokens == 64
    for samples, maps in atlas.iter_maps():
        assert maps.shape[1:] == (3, 4, samples[0].length, samples[0].length)
        if not is_text:
            np.testing.assert_allclose(maps.sum(-1, dtype=np.float32), 1, atol=5e-3)
    assert all(sample.tokens[0] for sample in atlas)


def test_times_are_held_against_what_is_allowed() -> None:
    rounds = [{group.MAPS: 0.009}, {group.MAPS: 0.012}, {group.MAPS: 0.011}]
    (figure,) = group.within("case", rounds, [group.MAPS])
    assert figure.value == pytest.approx(1.1)
    assert (figure.amount, figure.against_amount) == (0.011, 0.010)
    assert missed([figure]) == [figure]


def test_without_storing_the_writer_gets_nothing(tmp_path: Path) -> None:
    def write(path: Path, samples: list[CapturedSample]) -> None:
        with AtlasWriter(path, made_atlases.attributes("nlp")) as writer:
            writer.add(samples)

    samples = [made_atlases.sample("nlp", 0)]
    with group.nothing_stored():
        write(tmp_path / "recorded", samples)
    with pytest.raises(InputError, match="is empty"):
        open_atlas(tmp_path / "recorded")
    write(tmp_path / "stored", samples)
    assert len(open_atlas(tmp_path / "stored")) == 1


@pytest.mark.slow
def test_figures_of_reading_are_measured(tmp_path: Path) -> None:
    options = Options("cpu", quick=True)
    for measure, names in (
        (group.listing, [group.LIST]),
        (group.reading, [group.MAPS, group.SAMPLE]),
        (group.statistics, [group.STATISTICS] * 2),
    ):
        figures = measure(tmp_path, options)
        assert [figure.comparison.name for figure in figures] == names
        for figure in figures:
            assert figure.amount is not None
            assert figure.amount > 0
            assert figure.comparison.bound is not None
