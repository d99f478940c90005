"""Train each task with several seeds, one process each, and print the table of the README.

python benchmarks/results.py                          three tasks, seeds 0, 1, 2; about half an hour
python benchmarks/results.py --tasks vision --seeds 0

CPU seconds are user and system time of the whole process tree, imports included; the caches are
warmed first by a run of three batches.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run all, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=["nlp", "vision", "speech"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "outputs" / "results")
    parser.add_argument("overrides", nargs="*", help="passed on to train.py")
    arguments = parser.parse_args()
    rows = {}
    for task in arguments.tasks:
        runs = [measure(task, seed, arguments) for seed in arguments.seeds]
        rows |= summarise(task, runs)
    name = "-".join(["results", *arguments.tasks])
    (arguments.out / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n")
    print_markdown(rows, arguments.seeds)


def measure(task: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Training of one seed in a process of its own; its baseline too where it is not known yet."""
    folder = arguments.out / f"{task}-seed-{seed}"
    choice = [f"task={task}", f"seed={seed}", *arguments.overrides]
    run("train.py", *choice, "debug=fast", "capture=off", f"hydra.run.dir={folder}/warm-up")
    before = cpu_seconds()
    run("train.py", *choice, f"hydra.run.dir={folder}/run")
    spent = cpu_seconds() - before
    result = json.loads((folder / "run" / "result.json").read_text())
    baseline = result["baseline"]
    if baseline is None:
        run("baseline.py", *choice, f"hydra.run.dir={folder}/baseline")
        baseline = json.loads((folder / "baseline" / "baseline.json").read_text())
    line = {"task": task, "seed": seed, "cpu_seconds": round(spent, 1)}
    accuracies = {name: value for name, value in result.items() if name.startswith("test/acc")}
    print(json.dumps(line | accuracies), flush=True)
    return {"cpu_seconds": spent, "result": result, "baseline": baseline}


def run(*command: str) -> None:
    """A command of this repository, with this Python; its output is shown if it fails."""
    finished = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True
    )
    if finished.returncode:
        sys.exit(f"{' '.join(command)}\n{finished.stdout}{finished.stderr}")


def cpu_seconds() -> float:
    """User and system time of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def summarise(task: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """All seeds of the accuracies that are reported, with their medians."""
    names = ["test/accuracy"]
    if task == "nlp":
        names += ["test/accuracy/rotten_tomatoes", "test/accuracy/imdb"]
    return {
        f"{task} {name.removeprefix('test/accuracy').lstrip('/')}".strip(): {
            "accuracy": [run["result"][name] for run in runs],
            "baseline": [run["baseline"][name] for run in runs],
            "baseline_model": runs[0]["baseline"]["model"],
            "cpu_seconds": [run["cpu_seconds"] for run in runs],
        }
        for name in names
    }


def print_markdown(rows: dict[str, Any], seeds: list[int]) -> None:
    """Medians, with the figures of all seeds behind them."""
    print(f"\n| task | test accuracy, median (seeds {', '.join(map(str, seeds))}) "
          "| classical baseline | CPU seconds |")  # fmt: skip
    print("| --- | --- | --- | --- |")
    for name, row in rows.items():
        print(
            f"| {name} | {percent(row['accuracy'])} "
            f"| {percent(row['baseline'])}, {row['baseline_model']} "
            f"| {statistics.median(row['cpu_seconds']):.0f} |"
        )


def percent(shares: list[float]) -> str:
    """The median, and all figures in brackets."""
    each = ", ".join(f"{100 * share:.1f}" for share in shares)
    return f"**{100 * statistics.median(shares):.1f} %** ({each})"


if __name__ == "__main__":
    main()
