"""What recording costs a whole run of each task, on its own data and with its own config.

- One training epoch in which the readout row of every batch is recorded, against none.
- One whole epoch with validation after which 64 validation samples, the same each time, are
  recorded in full and stored in an atlas. Nothing but the storing is added, so both times are taken
  from one run: that of the epoch, and that of the epoch and the storing.
- One evaluation that keeps the readout row and the entropy of every sample, against none.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from attention_atlas.attention import Recording, record
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.pipeline.build import (
    build_callbacks,
    build_loggers,
    build_task,
    build_trainer,
)
from attention_atlas.pipeline.build_model import build_datamodule
from attention_atlas.pipeline.evaluate import evaluate_checkpoint
from attention_atlas.pipeline.process import prepare_process
from attention_atlas.pipeline.recording.describe import choose_samples
from attention_atlas.tasks import ClassificationTask
from benchmarks.figures import Comparison, Figure
from benchmarks.options import Options
from benchmarks.processes import in_fresh_process
from benchmarks.tasks import TASKS, Part, compose_task
from benchmarks.timing import QUICK, Effort, Round, seconds_of, take_turns, tell, time_figures

GROUP = "pipeline"

NONE = "not recording"
ROWS = "readout row of every training batch recorded"
STORED = "64 validation samples stored in full after an epoch"
KEPT = "readout row and entropy of every test sample kept"
KEPT_OF_SOME = "the same, with the entropy of 32 queries of each sample"

MAX_BATCHES = 60  # of an epoch whose batches are recorded
MIN_TEST_SAMPLES = 1500  # if there are as many
STORED_SAMPLES = 64
STORED_AT_ONCE = 16  # in order of length: a batch of all would be padded to the longest
EFFORT = Effort(min_rounds=3, max_rounds=9, extra_seconds=20.0)
SECONDS_OF_EPOCHS = 45.0  # enough of whole epochs, if there are not as many as that yet

WITHOUT_VALIDATION = (
    "+trainer.limit_val_batches=0",
    "+trainer.enable_checkpointing=false",
    "callbacks.checkpoint=null",
    "callbacks.early_stopping=null",
)


class RecordReadout(Callback):
    """Records the readout row of each training batch, and makes it after the step."""

    def __init__(self) -> None:
        self._contexts = contextlib.ExitStack()
        self._recording: Recording | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Ask for the row."""
        self._recording = self._contexts.enter_context(record(pl_module, queries="readout"))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Make the row."""
        self._contexts.close()
        assert self._recording is not None
        for name in self._recording.names:
            self._recording.maps[name]


class Run:
    """A task with its data, in a folder of its own."""

    def __init__(self, name: str, folder: Path, options: Options) -> None:
        self.name = name
        self.folder = folder
        self.device = options.device
        self.effort = QUICK if options.quick else EFFORT
        self.num_batches = 3 if options.quick else None  # None: all
        config = self.compose()
        prepare_process(config)
        self.datamodule: AtlasDataModule = build_datamodule(config)
        self.task: ClassificationTask = build_task(config, self.datamodule)

    def compose(self, *overrides: str, num_batches: int | None = None) -> DictConfig:
        """The task's config with one epoch, of all or some batches, on the device asked for."""
        num_batches = self.num_batches or num_batches
        if num_batches is not None:
            overrides = (
                *overrides,
                f"+trainer.limit_train_batches={num_batches}",
                f"trainer.log_every_n_steps={min(10, num_batches)}",
            )
        accelerator = "gpu" if self.device == "cuda" else "cpu"
        return compose_task(
            self.name,
            self.folder,
            f"trainer.accelerator={accelerator}",
            "trainer.max_epochs=1",
            *overrides,
        )

    def fit(self, config: DictConfig, *extra: Callback) -> None:
        """Train for one epoch."""
        callbacks = [*build_callbacks(config), *extra]
        loggers = build_loggers(config, self.folder)
        build_trainer(config, self.folder, callbacks, loggers).fit(self.task, self.datamodule)

    def evaluate(
        self, config: DictConfig, split: str, part: Part, batch_size: int | None = None
    ) -> None:
        """Test the best checkpoint on some samples of a split, as `evaluate.py` does."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        checkpoint = self.folder / "checkpoints" / "best.ckpt"
        loggers = build_loggers(config, folder)
        data = self.datamodule
        whole = data.datasets[split], data.eval_batch_size
        data.datasets[split], data.eval_batch_size = part, batch_size or data.eval_batch_size
        try:
            evaluate_checkpoint(config, checkpoint, self.task, data, folder, loggers, split)
        finally:
            data.datasets[split], data.eval_batch_size = whole


def measure(options: Options) -> list[Figure]:
    """All tasks, each in a process of its own."""
    names = ("vision",) if options.quick else TASKS
    return [figure for name in names for figure in in_fresh_process(measure_task, name, options)]


def measure_task(name: str, options: Options) -> list[Figure]:
    """The three figures of a task."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        tell(f"{GROUP}: {name}, data")
        run = Run(name, Path(folder), options)
        tell(f"{GROUP}: {name}, epochs with the readout row of every batch recorded")
        figures = recorded_epoch(run)
        tell(f"{GROUP}: {name}, epochs with validation, and {STORED_SAMPLES} samples stored")
        figures += stored_samples(run)
        tell(f"{GROUP}: {name}, evaluations")
        return figures + recorded_rows(run)


def recorded_epoch(run: Run) -> list[Figure]:
    """A training epoch with the readout row of every batch recorded, against one without."""
    run.fit(run.compose(*WITHOUT_VALIDATION, num_batches=3), RecordReadout())  # warms up
    config = run.compose(*WITHOUT_VALIDATION, num_batches=MAX_BATCHES)
    comparisons = [Comparison(ROWS, NONE, at_most=1.08)]
    rounds = take_turns(
        {NONE: lambda: run.fit(config), ROWS: lambda: run.fit(config, RecordReadout())},
        comparisons,
        run.device,
        run.effort,
        warm_ups=0,
    )
    note = _batches(run, MAX_BATCHES)
    return time_figures(GROUP, run.name, comparisons, rounds, run.device, note)


def stored_samples(run: Run) -> list[Figure]:
    """An epoch with validation, and the same with validation samples stored after it."""
    config = run.compose(f"capture.num_samples={STORED_SAMPLES}")
    dataset = run.datamodule.datasets["val"]
    chosen = choose_samples(dataset, STORED_SAMPLES)
    part = Part(dataset, [i for i, each in enumerate(dataset.sample_ids) if each in chosen])
    rounds: list[Round] = []
    spent = 0.0
    while len(rounds) < run.effort.min_rounds and spent < SECONDS_OF_EPOCHS:
        epoch = seconds_of(lambda: run.fit(config), run.device)
        storing = seconds_of(lambda: run.evaluate(config, "val", part, STORED_AT_ONCE), run.device)
        rounds.append({NONE: epoch, STORED: epoch + storing})
        spent += epoch + storing
    comparisons = [Comparison(STORED, NONE, at_most=1.10)]
    return time_figures(GROUP, run.name, comparisons, rounds, run.device, _batches(run))


def recorded_rows(run: Run) -> list[Figure]:
    """An evaluation with the readout row and the entropy of every sample kept, against none.

    Samples are taken at equal steps, so that all lengths are there.
    """
    dataset = run.datamodule.datasets["test"]
    step = max(1, len(dataset) // MIN_TEST_SAMPLES)
    part = Part(dataset, range(0, len(dataset), step))
    recorded, plain = run.compose("capture.num_samples=0"), run.compose("capture=off")
    of_some = run.compose("capture.num_samples=0", "capture.entropy_queries=32")
    comparisons = [Comparison(KEPT, NONE, at_most=1.10), Comparison(KEPT_OF_SOME, NONE)]
    rounds = take_turns(
        {
            NONE: lambda: run.evaluate(plain, "test", part),
            KEPT: lambda: run.evaluate(recorded, "test", part),
            KEPT_OF_SOME: lambda: run.evaluate(of_some, "test", part),
        },
        comparisons,
        run.device,
        run.effort,
        warm_ups=0,
    )
    note = _share("test samples", len(part), len(dataset))
    return time_figures(GROUP, run.name, comparisons, rounds, run.device, note)


def _batches(run: Run, max_batches: int | None = None) -> str:
    whole = len(run.datamodule.train_dataloader())
    return _share("training batches", run.num_batches or max_batches or whole, whole)


def _share(what: str, measured: int, whole: int) -> str:
    """How much of the data was measured."""
    return f"all {whole:,} {what}" if measured >= whole else f"{measured:,} of {whole:,} {what}"
