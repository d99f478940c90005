"""What a sweep ends in: the evidence of each run, and a table and a figure of all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepReport(Callback):
    """Writes `comparison.md`, `comparison.json` and `comparison.png` at the end of a sweep.

    Before that it measures the faithfulness of each run that has none yet, so that a sweep which
    was stopped can be reported later: `report_sweep` does the same for a folder of runs.

    Args:
        methods: Attributions to measure; None takes all.
        num_samples: Test samples of each run that they are measured on.
        quantities: Columns of the table and panels of the figure, as `atlas compare` names them;
            None takes its own choice.
    """

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
        """Import what all jobs need, so that the CPU seconds of the first do not count it."""
        import attention_atlas.pipeline.train  # noqa: F401
        from attention_atlas.pipeline.process import reset_cpu_seconds

        reset_cpu_seconds()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report the runs below the folder of the sweep."""
        folder = Path(config.hydra.sweep.dir)
        try:
            report_sweep(folder, self.methods, self.num_samples, self.quantities)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"the runs in {folder} are kept, and report_sweep(Path({str(folder)!r})) of "
                "attention_atlas.pipeline.sweeps.report goes on with their evidence"
            ) from None


def report_sweep(
    folder: Path,
    methods: Sequence[str] | None = None,
    num_samples: int = 100,
    quantities: Sequence[str] | None = None,
) -> None:
    """Measure what is missing, and write the comparison of the finished runs of a folder.

    Raises:
        InputError: No run in it is finished, or one cannot be read.
    """
    from attention_atlas.analysis.comparison import compare_runs, comparison_markdown
    from attention_atlas.analysis.comparison.figure import compare_figure
    from attention_atlas.analysis.figures import save_figure
    from attention_atlas.output_files import draft, write_json
    from attention_atlas.pipeline.faithfulness import measure_run
    from attention_atlas.run_folder import FAITHFULNESS, RESULT

    runs = sorted(result.parent for result in folder.glob(f"*/{RESULT}"))
    for number, run in enumerate(runs, start=1):
        if not (run / FAITHFULNESS).is_file():
            print(f"faithfulness of run {number} of {len(runs)}: {run.name}", flush=True)
            measure_run(run, methods, num_samples)
    comparison = compare_runs(runs)
    table = comparison_markdown(comparison, quantities)
    with draft(folder / "comparison.md") as unfinished:
        unfinished.write_text(table, encoding="utf-8")
    write_json(folder / "comparison.json", comparison.to_json())
    save_figure(compare_figure(comparison, quantities), folder / "comparison.png")
    print(table)
    print(f"written to {folder / 'comparison.md'}, comparison.json, comparison.png")
