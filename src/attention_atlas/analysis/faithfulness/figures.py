"""Draw how faithful attributions are, and one sample as several methods see it."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from matplotlib.figure import Figure

from attention_atlas.analysis.faithfulness.result import Faithfulness
from attention_atlas.atlas import AtlasAttributes, Sample


def faithfulness_figure(faithfulness: Faithfulness) -> Figure:
    """Methods by metrics, with intervals."""
    return Figure()


def attributions_figure(
    attributes: AtlasAttributes,
    sample: Sample,
    weights: Mapping[str, npt.NDArray[Any]],
    scores: Mapping[str, float] | None = None,
) -> Figure:
    """One sample with the weights [K] of several methods, side by side."""
    return Figure()
