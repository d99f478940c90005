"""Find runs, open their atlas, and choose a sample; each error names what would be right."""

import difflib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_atlas.atlas.locations import is_url
from attention_atlas.errors import InputError, counted
from attention_atlas.run_folder import (
    ATLAS_FOLDER,
    RESULT,
    RESUME_HINT,
    best_checkpoint,
    check_weights,
    is_unfinished,
    number_in,
    read_json,
)

if TYPE_CHECKING:
    from attention_atlas.analysis.faithfulness import Faithfulness
    from attention_atlas.atlas import Atlas, Sample

OUTPUTS = Path("outputs")
FEW = 3  # sample ids that are named as examples


def find_runs(folder: Path) -> list[Path]:
    """Return the folders at or below this one that hold an atlas."""
    runs = []
    for parent, folders, _ in os.walk(folder):
        if ATLAS_FOLDER in folders:
            folders.remove(ATLAS_FOLDER)
            runs.append(Path(parent))
        folders.sort()
    return runs


def open_run(run: str) -> "Atlas":
    """Open the atlas of a run; if there is none, name the closest run."""
    from attention_atlas.atlas import open_atlas

    must_exist(run)
    if is_unfinished(Path(run)) and not (Path(run) / ATLAS_FOLDER).exists():
        evaluates = f"; `atlas evaluate run={run}` tests its checkpoint, and records one"
        raise InputError(
            f"The run {run!r} is unfinished, without an atlas: {RESUME_HINT}"
            f"{evaluates if best_checkpoint(Path(run)).is_file() else ''}."
        )
    return open_atlas(run)


def local_run(run: str) -> Path:
    """Return the folder of a run whose model is needed too.

    Raises:
        InputError: If it is a URL, an atlas alone, or there is no such run.
    """
    if is_url(run):
        raise InputError(f"{run!r} is a URL: a folder is needed, because its model is run.")
    must_exist(run)
    folder = Path(run)
    if folder.name == ATLAS_FOLDER:
        folder = folder.parent
    check_weights(folder)
    return folder


def must_exist(run: str) -> None:
    """Say which run is the closest where this one is not there; a URL is not looked up."""
    if is_url(run) or Path(run).is_dir():
        return
    if Path(run).exists():
        raise InputError(f"{run!r} is a file: give a run folder (`atlas list` shows all).")
    known = [str(folder) for folder in find_runs(OUTPUTS)]
    close = difflib.get_close_matches(run, known, n=1)
    hint = f"the closest is {close[0]!r}" if close else "`atlas list` shows all"
    raise InputError(f"There is no run {run!r}: {hint}.")


def choose_sample(atlas: "Atlas", name: str | None, epoch: int | None = None) -> "Sample":
    """Find a sample by its id or, where no id is such, by its number; by default a mapped one."""
    if name is None:
        return default_sample(atlas, epoch)
    samples = list(atlas.samples(epoch))
    is_id = name in {entry.sample_id for entry in samples}
    if is_id or not re.fullmatch(r"[+-]?\d+", name):
        return atlas.sample(name, epoch)  # names the closest id
    number = int(name)
    if not -len(samples) <= number < len(samples):
        raise InputError(
            f"There is no sample {number}: the run has {counted(len(samples), 'sample')}, counted "
            "from 0."
        )
    return samples[number]


def default_sample(atlas: "Atlas", epoch: int | None = None) -> "Sample":
    """Return the first sample with full maps, so that every layer can be looked at."""
    samples = list(atlas.samples(epoch))
    return next((sample for sample in samples if sample.has_maps), samples[0])


def presentable_sample(atlas: "Atlas") -> "Sample":
    """Return the first sample that was predicted right and, if it is a text, fills a panel."""
    is_text = atlas.attributes.token_layout == "character_span"
    shortest, longest = (16, 28) if is_text else (1, sys.maxsize)
    right = [s for s in atlas if s.label == s.prediction and (len(s.readout) or s.has_maps)]
    fitting = (s for s in right if shortest <= s.length <= longest)
    return next(fitting, right[0] if right else default_sample(atlas))


def describe_sample(sample: "Sample") -> dict[str, Any]:
    """Return the description of a sample in JSON, without its weights."""
    return {
        "sample_id": sample.sample_id,
        "label": sample.label_name,
        "prediction": sample.prediction_name,
        "tokens": sample.tokens,
        "boxes": [None if any(x != x for x in box) else box for box in sample.boxes.tolist()],
    }


@contextmanager
def new_atlas(folder: Path) -> Iterator[Path]:
    """Give the path of an atlas that is to be made; where that fails, nothing is left of it.

    Raises:
        InputError: One is there, or the folder cannot be made.
    """
    path = folder / ATLAS_FOLDER
    if path.exists():
        raise InputError(f"{folder} already holds an atlas: take another folder, or remove it.")
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        path.mkdir(parents=True)  # of two processes, one alone can
    except FileExistsError as error:
        raise InputError(f"Another process writes an atlas to {folder}: take another.") from error
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}.") from error
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # others wrote there meanwhile
            for each in missing:
                each.rmdir()
        raise


def must_have_maps(atlas: "Atlas", sample: "Sample", run: str) -> None:
    """Name samples with full maps if this one has none; without layers, `pick` says so."""
    if sample.has_maps or not len(sample.entropy):
        return
    mapped = [other.sample_id for other in atlas.samples(sample.epoch) if other.has_maps]
    if not mapped:
        raise InputError(
            f"No sample of {run} has full maps, which this command needs: record them with "
            "capture=full."
        )
    raise InputError(
        f"Sample {sample.sample_id!r} has only its readout row stored, no full maps. Samples "
        f"with full maps: {', '.join(mapped[:FEW])} "
        f"(`atlas info {run} --mapped` lists all {len(mapped)})."
    )


def read_accuracy(atlas: "Atlas") -> float | None:
    """Read the accuracy that the run of an atlas reported, if it got that far."""
    with suppress(InputError):
        result = read_json(atlas.run, RESULT) or {}
        return number_in(result, f"{result.get('split', 'test')}/accuracy")
    return None


def known_faithfulness(run: Path) -> "Faithfulness | None":
    """Read what `atlas faithfulness` measured; None if it is missing, damaged or of old format."""
    from attention_atlas.analysis.faithfulness import read_faithfulness

    with suppress(InputError):
        return read_faithfulness(run)
    return None
