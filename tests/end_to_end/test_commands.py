"""The three commands one after the other, as a user types them."""

import json
from pathlib import Path

from tests.commands import content, run_script


def test_train_then_evaluate_then_baseline(tiny, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    cache = {"ATTENTION_ATLAS_CACHE": str(tmp_path / "cache")}

    baseline = run_script(["baseline.py", *tiny["vision"][:4]], here, **cache)
    assert baseline.returncode == 0, baseline.stderr
    assert "RBF SVM on principal components" in baseline.stdout
    (measured,) = here.glob("outputs/baselines/vision/*/baseline.json")

    trained = run_script(["train.py", *tiny["vision"]], here, **cache)
    assert trained.returncode == 0, trained.stderr
    (run,) = here.glob("outputs/vision/*")
    result = json.loads((run / "result.json").read_text())
    accuracy = json.loads(measured.read_text())["test/accuracy"]
    assert f"{100 * accuracy:.2f} %" in trained.stdout  # the table shows the baseline too
    before = content(run)

    evaluated = run_script(["evaluate.py", f"run={run.relative_to(here)}"], here, **cache)
    assert evaluated.returncode == 0, evaluated.stderr
    (folder,) = (run / "evaluations").iterdir()
    again = json.loads((folder / "result.json").read_text())
    assert again["test/accuracy"] == result["test/accuracy"]
    assert (folder / "atlas.zarr").is_dir()
    after = content(run)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"evaluations"}

    refused = run_script(["evaluate.py", f"run={run}", "data=spoken_commands"], here, torch=False)
    assert refused.returncode == 2
    assert content(run) == after
