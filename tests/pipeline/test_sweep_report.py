"""The experiment that compares mechanisms, as a user runs it, on small files."""

import json
from pathlib import Path

import pytest

from attention_atlas.errors import InputError
from attention_atlas.pipeline.sweeps.report import report_sweep
from tests.commands import invoke_atlas, run_script


@pytest.mark.slow
def test_the_experiment_ends_in_a_table_and_a_figure_of_all_runs(
    tiny: dict[str, list[str]], tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    small = [word for word in tiny["nlp"] if not word.startswith("task=")]
    finished = run_script(
        [
            "train.py",
            "experiment=mechanisms",
            *small,
            "task=nlp",
            "attention=cosine,null_key",
            "seed=0,1",
            f"hydra.sweep.dir={sweep}",
            "hydra.callbacks.report.num_samples=6",
            "hydra.job.config.override_dirname.exclude_keys=[experiment,data,data.path,"
            "data.batch_size,encoder.embed_dim,encoder.num_heads,encoder.depth,"
            "trainer.max_epochs,hydra.callbacks.report.num_samples,"
            "hydra.job.config.override_dirname.exclude_keys]",
        ],
        tmp_path,
    )
    assert finished.returncode == 0, finished.stderr
    names = {run.parent.name for run in sweep.glob("*/result.json")}
    assert names == {
        f"attention-{attention}_seed-{seed}_task-nlp"
        for attention in ("cosine", "null_key")
        for seed in (0, 1)
    }
    table = (sweep / "comparison.md").read_text(encoding="utf-8")
    assert table in finished.stdout
    assert [line.split("|")[1:3] for line in table.splitlines()[4:6]] == [
        [" cosine ", " 2 "],
        [" scaled_dot, null_key ", " 2 "],
    ]
    comparison = json.loads((sweep / "comparison.json").read_text(encoding="utf-8"))
    for group in comparison["groups"]:
        assert "faithfulness.readout.comprehensiveness" in group["intervals"]
    assert (sweep / "comparison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_evidence_of_three_trainings_is_one_table_and_one_sentence(
    tiny: dict[str, list[str]], tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    finished = run_script(
        [
            "train.py",
            "experiment=evidence",
            *tiny["nlp"],
            f"hydra.sweep.dir={sweep}",
            "hydra.callbacks.report.num_samples=6",
        ],
        tmp_path,
    )
    assert finished.returncode == 0, finished.stderr
    page = (sweep / "evidence.md").read_text(encoding="utf-8")
    assert page in finished.stdout
    assert "| method | over trainings | seed 0 | seed 1 | seed 2 |" in page
    assert "\nOver 3 trainings: " in page
    runs = sorted(path.parent for path in sweep.glob("*/result.json"))
    assert len(runs) == 3
    shown = invoke_atlas(tmp_path, "faithfulness", *map(str, runs)).stdout
    assert "over trainings" in shown
    (sentence,) = [line for line in page.splitlines() if line.startswith("Over 3 trainings")]
    assert sentence in " ".join(shown.split())


def test_a_folder_without_finished_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run"):
        report_sweep(tmp_path)
