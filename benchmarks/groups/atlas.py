"""What an atlas costs: to list, to read, to compute statistics of, and to write.

- `atlas list` of ten runs against `import zarr`, each a process of its own.
- The maps of one sample, and all that is kept of it, of an open atlas of 10,000 samples, which are
  taken at random, so that the reader has no chunk of them at hand.
- Statistics of all heads over 1,000 samples of 4 layers x 4 heads x 128 x 128, and their memory.
- One evaluation of each task that is recorded and stored, against one that is recorded the same way
  and whose samples the writer does not get.

Where a figure has an absolute bound, the ratio is that to the time or memory allowed.
"""

from __future__ import annotations

import contextlib
import io
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from unittest import mock

from attention_atlas.analysis.heads import head_statistics
from attention_atlas.atlas import Atlas, AtlasWriter, Sample, open_atlas
from attention_atlas.atlas.schema import TOKEN_LAYOUTS
from benchmarks import OUTPUTS
from benchmarks.atlases import Made
from benchmarks.figures import Comparison, Figure
from benchmarks.groups.pipeline import MIN_TEST_SAMPLES, Run
from benchmarks.memory import MEBIBYTE, peak_of
from benchmarks.options import Options
from benchmarks.processes import in_fresh_process
from benchmarks.tasks import TASKS, Part
from benchmarks.timing import Round, Step, seconds_of, take_turns, tell, time_figures

GROUP = "atlas"

NUM_LISTED = 10
LISTED = Made("patch_box", samples=1000, mapped=64)
READ = {
    "10,000 texts of up to 256 tokens": Made("character_span", 10_000, 64, tokens=256),
    "10,000 images of 64 patches": Made("patch_box", 10_000, 64),
}
COMPUTED = Made("character_span", 1000, 1000, tokens=128, min_tokens=128)
QUICK = Made("character_span", 200, 20, tokens=32)

LIST, IMPORT = f"atlas list of {NUM_LISTED} runs", "import zarr"
MAPS, SAMPLE = "maps of one sample", "one sample with all that is kept of it"
STATISTICS = "statistics of all heads"
STORED, RECORDED = "evaluation, recorded and stored", "evaluation, recorded"

ALLOWED = "allowed"
SECONDS_ALLOWED = {MAPS: 0.010, SAMPLE: 0.020, STATISTICS: 10.0}
BYTES_ALLOWED = 500e6
READS_PER_ROUND = 20


def measure(options: Options) -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        figures = listing(Path(folder), options) + reading(Path(folder), options)
        figures += statistics(Path(folder), options)
    names = ("vision",) if options.quick else TASKS
    for name in names:
        figures += in_fresh_process(storing, name, options)
    return figures


def listing(folder: Path, options: Options) -> list[Figure]:
    """`atlas list` against the import of zarr."""
    tell(f"{GROUP}: list")
    made = QUICK if options.quick else LISTED
    first = made.write(folder / "runs" / "0")
    for number in range(1, NUM_LISTED):
        shutil.copytree(first, folder / "runs" / str(number))
    commands = {
        LIST: [str(Path(sys.executable).with_name("atlas")), "list", str(folder / "runs")],
        IMPORT: [sys.executable, "-c", "import zarr"],
    }
    for command in commands.values():
        _child_seconds(command)  # compiles what is not yet, and fills the cache of files
    rounds = [
        {name: _child_seconds(command) for name, command in commands.items()}
        for _ in range(options.effort.min_rounds)
    ]
    comparisons = [Comparison(LIST, IMPORT, at_most=3)]
    return time_figures(GROUP, f"runs of {made.samples:,} samples", comparisons, rounds, "cpu")


def _child_seconds(command: list[str]) -> float:
    """User and system time of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def reading(folder: Path, options: Options) -> list[Figure]:
    """Samples of an open atlas, in no order."""
    figures = []
    cases = {"200 texts of up to 32 tokens": QUICK} if options.quick else READ
    for number, (case, made) in enumerate(cases.items()):
        tell(f"{GROUP}: {case}")
        atlas = open_atlas(made.write(folder / f"read-{number}"))
        mapped = atlas.mapped_sample_ids
        random.Random(0).shuffle(mapped)
        steps = {name: _each_in_turn(atlas, mapped, name == SAMPLE) for name in (MAPS, SAMPLE)}
        rounds = [
            {name: seconds_of(step, "cpu", READS_PER_ROUND) for name, step in steps.items()}
            for _ in range(options.effort.min_rounds)
        ]
        figures += within(case, rounds, list(steps))
    return figures


def _each_in_turn(atlas: Atlas, sample_ids: list[str], is_whole: bool) -> Step:
    """A step that reads the next sample of those that keep maps."""
    calls = iter(range(10**9))

    def read() -> None:
        sample = atlas.sample(sample_ids[next(calls) % len(sample_ids)])
        if is_whole:
            _read_all(sample, atlas)
        else:
            _ = sample.maps

    return read


def _read_all(sample: Sample, atlas: Atlas) -> None:
    """Look at every property of a sample but the inputs that others have."""
    inputs = {layout.input_name for layout in TOKEN_LAYOUTS.values()}
    inputs.discard(TOKEN_LAYOUTS[atlas.attributes.token_layout].input_name)
    for name, value in vars(Sample).items():
        if isinstance(value, property | cached_property) and name not in inputs:
            getattr(sample, name)


def statistics(folder: Path, options: Options) -> list[Figure]:
    """The statistics of all heads: time and memory."""
    made = QUICK if options.quick else COMPUTED
    case = f"{made.samples:,} samples of {made.layers} x 4 x {made.tokens} x {made.tokens}"
    tell(f"{GROUP}: statistics over {case}")
    path = made.write(folder / "computed")
    (step,) = make_statistics(path).values()
    num_rounds = 1 if options.quick else 3
    rounds = [{STATISTICS: seconds_of(step, "cpu")} for _ in range(num_rounds)]
    peak = peak_of(STATISTICS, make_statistics, (path,), "cpu")
    allowed = BYTES_ALLOWED / MEBIBYTE
    memory = Figure(
        GROUP,
        case,
        Comparison(STATISTICS, ALLOWED, at_most=1),
        "MiB",
        peak / allowed,
        amount=peak,
        against_amount=allowed,
        rounds=1,
    )
    return [*within(case, rounds, [STATISTICS]), memory]


def make_statistics(path: Path) -> dict[str, Step]:
    """The step whose time and memory are measured."""
    return {STATISTICS: lambda: head_statistics(open_atlas(path))}


def within(case: str, rounds: list[Round], names: list[str]) -> list[Figure]:
    """Figures of the rounds for times that have an absolute bound."""
    figures = []
    for name in names:
        beside = [one | {ALLOWED: SECONDS_ALLOWED[name]} for one in rounds]
        comparisons = [Comparison(name, ALLOWED, at_most=1)]
        figures += time_figures(GROUP, case, comparisons, beside, "cpu")
    return figures


def storing(name: str, options: Options) -> list[Figure]:
    """An evaluation whose samples are stored, against one that records them only."""
    # Where runs lie too: in a crowded folder such as /tmp a new file may cost ten times as much.
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    made = tempfile.TemporaryDirectory(dir=OUTPUTS, prefix=".")
    with made as folder, contextlib.redirect_stdout(io.StringIO()):
        tell(f"{GROUP}: {name}, evaluations")
        run = Run(name, Path(folder), options)
        run.fit(run.compose(num_batches=3))  # leaves the checkpoint that is evaluated
        config = run.compose()
        dataset = run.datamodule.datasets["test"]
        step = max(1, len(dataset) // MIN_TEST_SAMPLES)
        part = Part(dataset, range(0, len(dataset), step))

        def recorded() -> None:
            with nothing_stored():
                run.evaluate(config, "test", part)

        comparisons = [Comparison(STORED, RECORDED, at_most=1.10)]
        rounds = take_turns(
            {RECORDED: recorded, STORED: lambda: run.evaluate(config, "test", part)},
            comparisons,
            run.device,
            run.effort,
            warm_ups=1,
        )
        note = f"{len(part):,} of {len(dataset):,} test samples"
        return time_figures(GROUP, name, comparisons, rounds, run.device, note)


@contextlib.contextmanager
def nothing_stored() -> Iterator[None]:
    """Let no writer get a sample."""
    names = [name for name in ("add", "add_batch") if hasattr(AtlasWriter, name)]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(AtlasWriter, name))
        yield
