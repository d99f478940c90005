"""Time and memory of attention and of recording it, as ratios that are measured in one run."""

from pathlib import Path

OUTPUTS = Path(__file__).resolve().parents[1] / "outputs" / "benchmarks"
