"""A figure of one sample with its readout row, as `atlas show --save` draws it."""

from pathlib import Path

from attention_atlas.analysis.figures import sample_figure, save_figure
from attention_atlas.analysis.token_weights import pick
from attention_atlas.atlas import Atlas, Sample


def write_picture(atlas: Atlas, sample: Sample, path: Path) -> None:
    """Draw the readout row, or the last layer where the readout has no attention."""
    save_figure(sample_figure(atlas.attributes, sample, pick(sample)), path)
