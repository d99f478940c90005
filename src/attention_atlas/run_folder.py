"""The files of a run folder: their names, and how each is read. Never imports torch.

A folder may come from someone else: every file is limited in size and must have the form in which a
run writes it.
"""

import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attention_atlas.atlas.locations import ATLAS_FOLDER as ATLAS_FOLDER
from attention_atlas.atlas.locations import Location, exists, join
from attention_atlas.atlas.storage.files import open_files
from attention_atlas.errors import InputError

HYDRA = ".hydra"
CONFIG = f"{HYDRA}/config.yaml"
OVERRIDES = f"{HYDRA}/overrides.yaml"
CHECKPOINTS = "checkpoints"
BEST = "best.ckpt"
LAST = "last.ckpt"
BEFORE_LAST = "before-last.ckpt"
METRICS = "metrics.csv"
RESULT = "result.json"
FAILURE = "failure.json"
BASELINE = "baseline.json"
FAITHFULNESS = "faithfulness.json"
EVALUATIONS = "evaluations"
SWEEP = "sweep.yaml"
LOCK = ".lock"
TOKENIZER = "tokenizer.json"
TOKEN_PAIRS = "token_pairs.npy"
IMAGES = "images.json"
PRETRAINED = "pretrained"
HPARAMS = "hparams.yaml"  # written by Lightning
MULTIRUN = "multirun.yaml"  # written by Hydra into the folder of a sweep

OUTPUTS = (CHECKPOINTS, ATLAS_FOLDER, RESULT, BASELINE)
"""Outputs of a run, an evaluation or a baseline in its folder."""

RESUME_HINT = "the same command with resume=auto resumes it"

MAX_BYTES = 2**26
MAX_YAML_BYTES = 2**20  # which takes seconds to parse
MAX_YAML_DEPTH = 100  # the time of a parse grows with the square of it


def is_run(folder: Path) -> bool:
    """Whether a folder is one of a run."""
    return (folder / CONFIG).is_file()


def is_finished(run: Path) -> bool:
    """Whether a run has its result; one that is damaged is none."""
    try:
        return read_json(run, RESULT) is not None
    except InputError:
        return False


def is_unfinished(folder: Path) -> bool:
    """Whether a folder is one of a training without a result, which `resume=auto` resumes."""
    with suppress(InputError):
        config = read_yaml(folder, CONFIG) or {}  # that of an evaluation or a baseline has no key
        return "resume" in config and not is_finished(folder)
    return False


def is_job(folder: Path) -> bool:
    """Whether a folder is one of a run that has at least started, in a sweep or not."""
    try:
        return folder.is_dir() and any(
            (folder / name).exists() for name in (HYDRA, RESULT, FAILURE)
        )
    except OSError:
        return False


def runs_in(folder: Path) -> list[Path]:
    """Return the folders of runs directly in a folder, finished or not, sorted by name.

    Raises:
        InputError: The folder cannot be read.
    """
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.") from error
    return [path for path in inside if not path.name.startswith(".") and is_job(path)]


def finished_runs_in(folder: Path) -> list[Path]:
    """Return those of `runs_in` that have their result."""
    return [run for run in runs_in(folder) if is_finished(run)]


def find_run(name: str) -> str:
    """Return the run that a name stands for: `last` or `last:<task>` is the newest finished one.

    Any other name stands for itself, and so does that of an existing folder.

    Raises:
        InputError: No run below `outputs/`, or none of the task, is finished.
    """
    last, _, task = name.partition(":")
    if last != "last" or Path(name).exists():
        return name
    tasks = set()
    for run in sorted(_finished_runs(), key=lambda run: (run / RESULT).stat().st_mtime)[::-1]:
        with suppress(InputError):  # a damaged result
            result = read_result(run)
            if result.get("pruned"):  # a trial of a search, without an atlas
                continue
            found = result.get("task")
            if task in ("", found):
                return str(run)
            tasks.add(str(found))
    others = f", only of {' and '.join(sorted(tasks))}" if tasks else ""
    raise InputError(
        f"{name!r} is not a run: there is no finished run{f' of {task}' if task else ''} below "
        f"outputs/{others}. `atlas train task={task or 'nlp'}` makes one."
    )


def _finished_runs() -> Iterator[Path]:
    for folder, folders, files in os.walk("outputs"):
        if RESULT in files:
            yield Path(folder)
            folders.clear()
        folders[:] = set(folders) - {ATLAS_FOLDER, CHECKPOINTS, EVALUATIONS}


def best_checkpoint(run: Path) -> Path:
    """Return the path of the weights that were best on the validation split."""
    return run / CHECKPOINTS / BEST


def check_weights(run: Path) -> None:
    """Check that a run has weights to test.

    Raises:
        InputError: It has none; the message says how to get them.
    """
    if best_checkpoint(run).is_file():
        return
    remedy = RESUME_HINT if is_unfinished(run) else "give the folder of a training run"
    raise InputError(
        f"The run {str(run)!r} has no {CHECKPOINTS}/{BEST}, so there is no model to run: {remedy}."
    )


def read_json(run: Location, name: str) -> dict[str, Any] | None:
    """Return the object in a JSON file of a run folder; None if there is no such file.

    Raises:
        InputError: The file cannot be read, is too large, or holds no JSON object.
    """
    found = _read(run, name, MAX_BYTES)
    if found is None:
        return None
    try:
        content = json.loads(found)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{join(run, name)} cannot be read: it is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{join(run, name)} cannot be read: it holds no JSON object.")
    return content


def read_yaml(run: Location, name: str) -> Any:
    """Return the unresolved config or list in a YAML file of a run folder; None without the file.

    Raises:
        InputError: The file cannot be read, is too large or nested too deeply, or is not the YAML
            that Hydra writes.
    """
    import yaml  # type: ignore[import-untyped]
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    found, path = _read(run, name, MAX_YAML_BYTES), join(run, name)
    if found is None:
        return None
    try:
        text, depth = found.decode("utf-8"), 0
        for event in yaml.parse(text):
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"{path} repeats values by *names, which no run writes.")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_YAML_DEPTH:
                raise RecursionError
        return OmegaConf.load(io.StringIO(text))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error
    except RecursionError as error:
        raise InputError(f"{path} cannot be read: it is nested too deeply.") from error


def read_result(run: Location) -> dict[str, Any]:
    """Return the result of a finished run, or of an evaluation.

    Raises:
        InputError: There is no such folder, it has no result, or the file is damaged.
    """
    result = read_json(run, RESULT)
    if result is not None:
        return result
    if not exists(run):
        raise InputError(f"There is no run {str(run)!r}: give a run folder.")
    if is_unfinished(Path(run)):
        raise InputError(f"The run {str(run)!r} is unfinished, without {RESULT}: {RESUME_HINT}.")
    raise InputError(
        f"{run} has no {RESULT}, so it is not a finished run: give the folder of one, not of its "
        "atlas."
    )


def number_in(result: Mapping[str, Any], name: str) -> float | None:
    """Return a number of a result; None if it has no such entry.

    Raises:
        InputError: The entry is not a finite number.
    """
    value = result.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            if math.isfinite(number := float(value)):
                return number
    raise InputError(f"The {RESULT} is damaged: its {name} is not a number.")


def read_classes(run: Location) -> list[str]:
    """Return the classes that a finished run was trained on, in the order of its logits.

    Raises:
        InputError: The run has no result, or the result names no classes.
    """
    classes = read_result(run).get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InputError(
            f"{join(run, RESULT)} is not the result of a training run: it names no classes."
        )
    return classes


def _read(run: Location, name: str, max_bytes: int) -> bytes | None:
    """Return the bytes of a file; None if there is no such file."""
    path = join(run, name)
    too_large = InputError(f"{path} is larger than {max_bytes} bytes: no run writes such a file.")
    try:
        if isinstance(path, Path) and path.is_file() and path.stat().st_size > max_bytes:
            raise too_large
        (content,) = open_files(run).read([name])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if content is not None and len(content) > max_bytes:  # at a URL
        raise too_large
    return content
