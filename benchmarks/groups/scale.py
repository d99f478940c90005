"""How CPU time grows with the size of what is read, split, checked and printed.

The ratio of this group is an exponent: the slope of a least-squares line through the logarithms of
three sizes and of the times they take. 1 is linear, 2 quadratic. A time is the shortest of the
rounds, and fixed costs make an exponent smaller, so the smallest size takes 20 ms or more.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from omegaconf import OmegaConf
from PIL import Image

from attention_atlas.analysis.confusion import Confusion, confusion_of
from attention_atlas.analysis.figures import confusion_figure
from attention_atlas.cli.commands.info import info
from attention_atlas.config.compose import Checker, config_folder
from attention_atlas.config.validation import check_config
from attention_atlas.data.audio.reading import read_clip
from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.data.image.reading import read_image
from attention_atlas.data.listing import list_files
from attention_atlas.data.splits import FRACTIONS, divide
from attention_atlas.data.tables import read_table
from attention_atlas.data.text.csv_files import load_csv
from attention_atlas.data.text.options import TextOptions
from attention_atlas.data.text.tokenizer import encode_texts, train_tokenizer
from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.pipeline.sweeps.jobs import job_name
from attention_atlas.pipeline.sweeps.plan import plan_command
from attention_atlas.run_folder import read_result
from attention_atlas.tasks.base import _metrics
from benchmarks.figures import Comparison, Figure
from benchmarks.options import Options
from benchmarks.processes import in_fresh_process
from benchmarks.tasks import CONF
from benchmarks.timing import Step, seconds_of, tell

GROUP = "scale"

MAX_EXPONENT = 1.2
ROUNDS = 3

CELLS = {"`<`": "<", "one word": "w", "blanks": " ", "text with NULs": "letters a\0"}


@dataclass(frozen=True)
class Case:
    """What is done to an input of a size.

    Attributes:
        make: Makes the input in a folder, and returns the step that is timed.
        sizes: Three sizes, in increasing order.
        unit: Of a size.
        quick: Smaller sizes.
    """

    make: Callable[[Path, int], Step]
    sizes: tuple[int, int, int]
    unit: str
    quick: tuple[int, int, int]


def measure(options: Options) -> list[Figure]:
    """All cases, each in a process of its own."""
    if options.quick:
        return [_measure(name, True) for name in CASES]
    return [in_fresh_process(_measure, name, False) for name in CASES]


def _measure(name: str, quick: bool) -> Figure:
    tell(f"{GROUP}: {name}")
    case = CASES[name]
    sizes = case.quick if quick else case.sizes
    num_rounds = 1 if quick else ROUNDS
    seconds = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            step = case.make(Path(folder), size)
            seconds.append(min(seconds_of(step, "cpu") for _ in range(num_rounds)))
    comparison = Comparison(
        f"{name}, {sizes[-1]:,} {case.unit}",
        f"{sizes[0]:,} {case.unit}",
        at_most=None if quick else MAX_EXPONENT,
    )
    return Figure(
        GROUP,
        "exponents of CPU time",
        comparison,
        "CPU s",
        value=exponent(sizes, seconds),
        amount=seconds[-1],
        against_amount=seconds[0],
        rounds=num_rounds,
        note=f"{1000 * seconds[1]:.0f} ms at {sizes[1]:,}",
    )


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Fit the power of the size that the time grows with."""
    slope, _ = np.polyfit(np.log(sizes), np.log(np.maximum(seconds, 1e-6)), 1)
    return float(slope)


def _repeated(text: str, size: int) -> str:
    return (text * (size // len(text) + 1))[:size]


def _table_of_one_cell(text: str, folder: Path, megabytes: int) -> Step:
    path = folder / "one.csv"
    path.write_text(f"text,label\n{_repeated(text, megabytes * 10**6)},a\n")

    def read() -> None:
        with contextlib.suppress(InputError):  # too long to be one sample
            read_table(path)

    return read


def _corpus_of_one_cell(text: str, folder: Path, kilobytes: int) -> Step:
    path = folder / "one.csv"
    rows = [
        f"{_repeated(text, 1000 * kilobytes)}x,a",
        *(f"row {row},{'ab'[row % 2]}" for row in range(40)),
    ]
    path.write_text("\n".join(["text,label", *rows]))
    options = TextOptions(name="csv", path=str(path))
    return lambda: load_csv(options)


def _tokens_of_one_cell(text: str, folder: Path, kilobytes: int) -> Step:
    texts = [_repeated(text, 1000 * kilobytes), *["some other words"] * 10]
    return lambda: encode_texts(train_tokenizer(texts, 200), texts)


def _split(folder: Path, samples: int) -> Step:
    names = [str(index) for index in range(samples)]
    labels = [index % 10 for index in range(samples)]
    contents = [str(index // 2) for index in range(samples)]
    return lambda: divide([None] * samples, names, labels, FRACTIONS, 0, contents)


def _split_by_group(folder: Path, samples: int) -> Step:
    names = [str(index) for index in range(samples)]
    labels = [index % 10 for index in range(samples)]
    groups = [f"group {index // 4}" for index in range(samples)]
    return lambda: divide([None] * samples, names, labels, FRACTIONS, 0, names, groups)


def _list(folder: Path, files: int) -> Step:
    for label in "ab":
        (folder / label).mkdir()
        for index in range(files // 2):
            (folder / label / f"{index}.png").touch()
    return lambda: list_files(folder, "image")


def _rows_of_classes(folder: Path, classes: int) -> Step:
    path = folder / "rows.csv"
    rows = [
        f"word{index} of {index % classes},class-{index % classes}" for index in range(20 * classes)
    ]
    path.write_text("\n".join(["text,label", *rows]))
    options = TextOptions(name="csv", path=str(path))
    return lambda: load_csv(options)


def _tested_classes(folder: Path, classes: int) -> Step:
    """Metrics of 2,000 samples; a result of ten samples a class, its table and its figure."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(500, classes, generator=generator)
    scores /= scores.sum(-1, keepdim=True)
    label = torch.randint(classes, (500,), generator=generator)
    pairs = torch.randint(classes, (10 * classes, 2), generator=generator).tolist()
    names = [f"class {index}" for index in range(classes)]
    metrics = _metrics(classes, "test/")

    def test() -> None:
        for _ in range(4):
            metrics.update(scores, label)
        metrics.compute()
        metrics.reset()
        confusion = Confusion.of(names, Counter(map(tuple, pairs)))
        result = {"classes": names, "test/confusion_matrix": confusion.to_json()}
        write_json(folder / "result.json", result)
        info(str(folder), classes=True)
        confusion_figure(confusion_of(read_result(folder)))

    return test


def _checked_jobs(folder: Path, jobs: int) -> Step:
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    numbers = itertools.count()

    def plan() -> None:
        sweep = f"hydra.sweep.dir={folder / str(next(numbers))}"
        with config_folder(CONF):
            values = ["task=vision", f"seed=range({jobs})", "optimizer.lr=0.1,0.2", sweep]
            plan_command("train", values, True, Checker(check_config))

    return plan


def _picture(folder: Path, kilopixels: int) -> Step:
    path = folder / "picture.png"
    shape = (kilopixels, 1000, 3)
    Image.fromarray(np.random.default_rng(0).integers(0, 32, shape, np.uint8)).save(path)
    source = ImageSource(ImageOptions(name="image_folder", path=str(folder), channels=3))
    return lambda: read_image(path, source)


def _sound(folder: Path, seconds: int) -> Step:
    path = folder / "sound.wav"
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100 * seconds)
    soundfile.write(path, samples, 44_100)
    return lambda: read_clip(path, 16_000 * seconds)


CASES = {
    **{
        f"a table with one cell of {name}": Case(
            partial(_table_of_one_cell, text), (2, 10, 50), "MB", (1, 2, 4)
        )
        for name, text in CELLS.items()
    },
    **{
        f"texts, one of {name}, checked and divided": Case(
            partial(_corpus_of_one_cell, text), (200, 600, 1800), "kB", (50, 100, 200)
        )
        for name, text in CELLS.items()
    },
    **{
        f"vocabulary and tokens of {name}": Case(
            partial(_tokens_of_one_cell, text), (200, 600, 1800), "kB", (10, 20, 40)
        )
        for name, text in CELLS.items()
    },
    "splits of samples, every other a copy": Case(
        _split, (5_000, 20_000, 80_000), "samples", (500, 1_000, 2_000)
    ),
    "splits of groups of four": Case(
        _split_by_group, (5_000, 20_000, 80_000), "samples", (500, 1_000, 2_000)
    ),
    "a listed folder": Case(_list, (1_000, 4_000, 16_000), "files", (100, 200, 400)),
    "a table of 20 rows a class": Case(
        _rows_of_classes, (100, 1_000, 3_000), "classes", (20, 40, 80)
    ),
    "a test of a model": Case(_tested_classes, (100, 1_000, 3_000), "classes", (20, 40, 80)),
    "checks of a sweep": Case(_checked_jobs, (25, 100, 400), "x 2 jobs", (1, 2, 4)),
    "a picture": Case(_picture, (1_000, 8_000, 64_000), "thousand pixels", (50, 100, 200)),
    "a resampled sound": Case(_sound, (10, 60, 360), "s", (1, 2, 4)),
}
