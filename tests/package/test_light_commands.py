"""Commands that are typed again and again import only what they use."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from attention_atlas.cli import main
sys.argv = ["atlas", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *sys.modules)
"""

TORCH = {"torch"}
HEAVY = {
    "lightning", "torchmetrics", "torchvision", "torchaudio", "transformers", "captum", "sklearn",
    "pandas", "matplotlib", "scipy.stats", "scipy.signal", "xarray", "zarr", "torch._dynamo",
    "torch._inductor", "optuna", "soundfile", "PIL", "datasets", "peft",
}  # fmt: skip


def loaded_by(folder: Path, *arguments: str) -> set[str]:
    """Names of the modules that a command has imported when it ends."""
    program = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["--version"]])
def test_usage_and_version_import_next_to_nothing(arguments: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(tmp_path, *arguments)
    assert not loaded & (TORCH | HEAVY | {"hydra", "numpy", "rich.table"})


@pytest.mark.parametrize(
    ("arguments", "used"),
    [
        (["train"], {"hydra"}),
        (["list", "nlp"], set()),
        (["info", "nlp"], set()),
        (["show", "nlp"], set()),
        (["show", "vision", "--save", "figure.pdf"], {"matplotlib", "PIL"}),
        (["stats", "vision"], set()),
        (["export", "vision", "--out", "a.csv"], set()),
        (["export", "vision", "--out", "a.html"], {"PIL"}),
        (["export", "vision", "--out", "a.npz"], {"pandas", "xarray"}),
    ],
)
def test_commands_without_a_model_import_no_torch(
    trained_runs: dict[str, Path], arguments: list[str], used: set[str], tmp_path: Path
) -> None:
    loaded = loaded_by(tmp_path, *(str(trained_runs.get(each, each)) for each in arguments))
    assert not loaded & ((TORCH | HEAVY | {"hydra"}) - used)


@pytest.mark.slow
def test_a_prediction_imports_torch_and_no_other_library_that_is_slow(
    trained_runs: dict[str, Path],
) -> None:
    loaded = loaded_by(trained_runs["nlp"], "predict", str(trained_runs["nlp"]), "a sentence")
    assert loaded >= TORCH
    assert not loaded & HEAVY
