"""Export formats: their file suffixes, and what they contain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attention_atlas.analysis.token_weights import name_of, pick
from attention_atlas.atlas import Atlas, Sample
from attention_atlas.errors import InputError
from attention_atlas.output_files import FIGURE_SUFFIXES, check_output, draft

WHATS = ("tokens", "readout", "maps", "statistics")
"""Contents of a table of comma-separated values."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Format:
    """The suffixes of an export format, and whether it takes all samples of an atlas or one."""

    suffixes: tuple[str, ...]
    whole: bool


FORMATS = {
    "png": Format(FIGURE_SUFFIXES, whole=False),
    "html": Format((".html",), whole=False),
    "csv": Format((".csv",), whole=True),
    "npz": Format((".npz",), whole=True),
    "netcdf": Format((".nc",), whole=True),
    "bertviz": Format((".pt",), whole=False),
}


def format_of(path: Path, name: str | None = None) -> str:
    """Return the format of a file, by default that of its suffix.

    Raises InputError if there is no such format, the suffix is of another, or the file cannot be
    written.
    """
    if name is None:
        found = [key for key, form in FORMATS.items() if path.suffix.lower() in form.suffixes]
        if not found:
            endings = ", ".join(ending for form in FORMATS.values() for ending in form.suffixes)
            raise InputError(f"{str(path)!r} has the ending of no format: use one of {endings}.")
        name = found[0]
    if name not in FORMATS:
        raise InputError(f"There is no format {name!r}: use one of {', '.join(FORMATS)}.")
    check_output(path, FORMATS[name].suffixes)
    return name


def export(
    atlas: Atlas,
    samples: Sequence[Sample],
    path: Path,
    name: str | None = None,
    what: str | None = None,
    progress: Progress | None = None,
) -> list[Sample]:
    """Write samples of an atlas to a file, and return those that it contains.

    Args:
        atlas: The atlas that holds them.
        samples: One, or all of an epoch; one for a format that is not `whole`.
        path: File to write; by default its ending names the format.
        name: Name of the format.
        what: The rows of a csv, one of `WHATS`, by default the first; other formats have none.
        progress: Called with the number of samples done, and of all.

    Raises InputError if the format cannot hold it, the sample has no maps and they are needed, or
    the file cannot be written.
    """
    name = format_of(path, name)
    if not FORMATS[name].whole and len(samples) != 1:
        raise InputError(f"The format {name} is of one sample: name it.")
    if what is not None:
        _check_what(what, name)
    if name == "png":
        write_figure(atlas, samples[0], path)
    elif name == "html":
        from attention_atlas.analysis.export.page import write_page

        write_page(atlas, samples[0], path)
    elif name == "csv":
        from attention_atlas.analysis.export.table import write_table

        return write_table(atlas, samples, path, what or WHATS[0], progress)
    elif name == "npz":
        from attention_atlas.analysis.export.arrays import write_arrays

        write_arrays(atlas, samples, path, progress)
    elif name == "netcdf":
        from attention_atlas.analysis.export.arrays import write_netcdf

        write_netcdf(atlas, samples, path, progress)
    else:
        write_bertviz(samples[0], path)
    return list(samples)


def _check_what(what: str, name: str) -> None:
    if what not in WHATS:
        raise InputError(f"There is no table {what!r}: use one of {', '.join(WHATS)}.")
    if name != "csv":
        raise InputError(
            f"Which rows there are ({what}) can be chosen for csv alone, and this is {name}: end "
            "the file in .csv, or leave the choice out."
        )


def write_bertviz(sample: Sample, path: Path) -> None:
    """Write the arguments of `bertviz.head_view` and `bertviz.model_view`.

    They are `attention`, a tuple of L tensors [1, H, K, K], and `tokens`, a list of K texts:
    `bertviz.head_view(**torch.load("sample.pt", weights_only=True))`.

    Raises InputError if the sample has no full maps, or its encoder has no layers.
    """
    maps = sample.read_maps()
    if not len(maps):
        raise InputError("This run has no map of a layer to write: its encoder has no layers.")
    import torch

    attention = tuple(torch.from_numpy(layer[None].astype(np.float32)) for layer in maps)
    tokens = [name_of(token) for token in sample.tokens]
    with draft(path) as unfinished, unfinished.open("wb") as file:
        torch.save({"attention": attention, "tokens": tokens}, file)


def write_figure(atlas: Atlas, sample: Sample, path: Path) -> None:
    """Draw the readout row, or the last layer if the readout has no attention."""
    from attention_atlas.analysis.figures import sample_figure, save_figure

    save_figure(sample_figure(atlas.attributes, sample, pick(sample)), path)
