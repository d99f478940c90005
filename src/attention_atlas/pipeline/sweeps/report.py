"""Report of a sweep: the faithfulness of each run, and a table and a figure of all runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from attention_atlas.interrupts import Interrupted


class SweepReport(Callback):
    """Write `comparison.md`, `comparison.json` and `comparison.png` at the end of a sweep.

    The faithfulness of each run is measured first, unless it is there already. `report_sweep` does
    the same for any folder of runs, such as that of an interrupted sweep.

    Args:
        methods: Attribution methods to measure; None takes all.
        num_samples: Number of test samples of each run.
        quantities: Columns of the table and panels of the figure, as `atlas compare` names them;
            None takes the default ones.
    """

    function = "report_sweep"

    def __init__(
        self,
        methods: Sequence[str] | None = None,
        num_samples: int = 100,
        quantities: Sequence[str] | None = None,
    ) -> None:
        self.methods = methods
        self.num_samples = num_samples
        self.quantities = quantities

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Import the training first, so that the CPU seconds of the first job do not include it."""
        import attention_atlas.pipeline.train  # noqa: F401
        from attention_atlas.pipeline.process import reset_cpu_seconds

        reset_cpu_seconds()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report the runs in the folder of the sweep."""
        folder = Path(config.hydra.sweep.dir)
        try:
            self.report(folder)
        except Interrupted as end:
            end.hint = (
                f"the runs in {folder} are saved, and {self.function}(Path({str(folder)!r})) of "
                "attention_atlas.pipeline.sweeps.report measures the rest"
            )
            raise

    def report(self, folder: Path) -> None:
        """Report the runs in a folder."""
        report_sweep(folder, self.methods, self.num_samples, self.quantities)


class EvidenceReport(SweepReport):
    """Write `evidence.md` at the end of a sweep over seeds: faithfulness over trainings.

    The arguments are those of `SweepReport`.
    """

    function = "report_evidence"

    def report(self, folder: Path) -> None:
        """Report the runs in a folder."""
        report_evidence(folder, self.methods, self.num_samples)


def report_evidence(
    folder: Path, methods: Sequence[str] | None = None, num_samples: int = 100
) -> None:
    """Measure missing faithfulness, and write that of each recipe over its trainings.

    Raises:
        InputError: No run in the folder is finished, or one cannot be read.
    """
    from attention_atlas.analysis.comparison import compare_runs
    from attention_atlas.analysis.comparison.evidence import evidence_markdown
    from attention_atlas.output_files import draft

    runs = _measure_missing(folder, methods, num_samples)
    page = evidence_markdown(compare_runs(runs).groups)
    with draft(folder / "evidence.md") as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    print(page)
    print(f"written to {folder / 'evidence.md'}")


def report_sweep(
    folder: Path,
    methods: Sequence[str] | None = None,
    num_samples: int = 100,
    quantities: Sequence[str] | None = None,
) -> None:
    """Measure missing faithfulness, and write the comparison of the finished runs of a folder.

    Raises:
        InputError: No run in the folder is finished, or one cannot be read.
    """
    from attention_atlas.analysis.comparison import compare_runs, comparison_markdown
    from attention_atlas.analysis.comparison.figure import compare_figure
    from attention_atlas.analysis.figures import save_figure
    from attention_atlas.output_files import draft, write_json

    comparison = compare_runs(_measure_missing(folder, methods, num_samples))
    table = comparison_markdown(comparison, quantities)
    with draft(folder / "comparison.md") as unfinished:
        unfinished.write_text(table, encoding="utf-8")
    write_json(folder / "comparison.json", comparison.to_json())
    save_figure(compare_figure(comparison, quantities), folder / "comparison.png")
    print(table)
    print(f"written to {folder / 'comparison.md'}, comparison.json, comparison.png")


def _measure_missing(folder: Path, methods: Sequence[str] | None, num_samples: int) -> list[Path]:
    """Measure the faithfulness of the finished runs in a folder where it is missing."""
    from attention_atlas.pipeline.faithfulness import measure_run
    from attention_atlas.run_folder import FAITHFULNESS, finished_runs_in

    runs = finished_runs_in(folder)
    for number, run in enumerate(runs, start=1):
        if not (run / FAITHFULNESS).is_file():
            print(f"faithfulness of run {number} of {len(runs)}: {run.name}", flush=True)
            measure_run(run, methods, num_samples)
    return runs
