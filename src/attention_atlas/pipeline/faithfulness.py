"""Evidence for a finished run: attributions, their faithfulness, the importance of heads."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from attention_atlas.analysis.attributions import METHODS, attribute
from attention_atlas.analysis.faithfulness import Faithfulness
from attention_atlas.analysis.faithfulness.figures import faithfulness_figure
from attention_atlas.analysis.faithfulness.measure import measure
from attention_atlas.analysis.faithfulness.removal import build_removal
from attention_atlas.analysis.figures import save_figure
from attention_atlas.analysis.heads.importance import HeadImportance, head_importance
from attention_atlas.errors import InputError
from attention_atlas.output_files import draft, write_json
from attention_atlas.pipeline.load_run import LoadedRun, load_run
from attention_atlas.pipeline.recording.describe import choose_samples
from attention_atlas.run_folder import FAITHFULNESS, read_result

BATCH_SIZE = 32


def measure_run(
    folder: Path,
    methods: Sequence[str] | None = None,
    num_samples: int = 100,
    removal: str | None = None,
    steps: int = 10,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Measure attributions on test samples of a run, with its best weights.

    Writes `faithfulness.json`, `faithfulness.csv` and `faithfulness.png` into the run folder.

    Args:
        folder: The run folder.
        methods: Names as `attribute` takes them; None takes all.
        num_samples: Number of test samples, balanced by class, the same in every run.
        removal: What replaces a removed token; None takes the default of the modality.
        steps: Number of steps of deletion and insertion.
        seed: Seed of all random draws.
        progress: Called with the number of measured samples and of all samples.

    Raises:
        InputError: The run, a method, the removal or the number of samples cannot be used.
    """
    if num_samples < 1:
        raise InputError(f"num_samples={num_samples} is not possible: take 1 or more.")
    read_result(folder)  # of the epochs so far, nothing is measured
    run = load_run(folder, with_data=True)
    chosen = _chosen(run, num_samples)
    measured = measure(
        run.model,
        run.batches(chosen, BATCH_SIZE),
        list(METHODS) if methods is None else list(methods),
        build_removal(run.datamodule, removal),
        steps=steps,
        fresh_model=run.fresh_model,
        seed=seed,
        progress=progress,
    )
    save_figure(faithfulness_figure(measured), (folder / FAITHFULNESS).with_suffix(".png"))
    rows = measured.rows()
    with (
        draft((folder / FAITHFULNESS).with_suffix(".csv")) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    content = measured.to_json() | {"num_samples_asked_for": num_samples}
    write_json(folder / FAITHFULNESS, content)
    return measured


def attribute_sample(
    folder: Path, sample_id: str, methods: Sequence[str], split: str = "test", seed: int = 0
) -> dict[str, npt.NDArray[np.float32]]:
    """Attribute the prediction of one sample to its tokens.

    Args:
        folder: The run folder.
        sample_id: Id of the sample in the atlas.
        methods: Names as `attribute` takes them.
        split: The split of the sample.
        seed: Seed of the random baseline.

    Returns:
        The attributions [K] of the K tokens in the atlas, by method.

    Raises:
        InputError: The run, the sample or a method cannot be used.
    """
    run = load_run(folder, with_data=True)
    batch = next(run.batches([sample_id], 1, split))
    layout = run.model.token_layout(batch)
    reference = build_removal(run.datamodule).all(batch, layout)
    weights = attribute(run.model, batch, methods, reference=reference, seed=seed)
    valid = layout.valid[0].cpu()
    return {name: values[0].cpu()[valid].float().numpy() for name, values in weights.items()}


def head_importance_of(
    folder: Path, num_samples: int = 200, progress: Callable[[int], None] | None = None
) -> HeadImportance:
    """Return how much the loss of a run depends on each head, on test samples.

    Raises:
        InputError: The run cannot be used.
    """
    run = load_run(folder, with_data=True)
    batches = run.batches(_chosen(run, num_samples), BATCH_SIZE)
    return head_importance(run.model, batches, progress=progress)


def _chosen(run: LoadedRun, num_samples: int) -> list[str]:
    return sorted(choose_samples(run.datamodule.datasets["test"], num_samples))
