"""`atlas faithfulness`: measured with the model of a run, kept, and shown again."""

import csv
import json
import shutil

import pytest

OPTIONS = ("--num-samples", "8", "--steps", "4", "--methods", "readout,rollout,random")


@pytest.fixture(scope="module")
def own_runs(trained_runs, tmp_path_factory):
    """Copies that may be written into."""
    folder = tmp_path_factory.mktemp("measured")
    return {
        task: shutil.copytree(run, folder / task, symlinks=True)
        for task, run in trained_runs.items()
    }


@pytest.mark.parametrize("task", ["nlp", "vision", "speech"])
def test_measured_once_and_shown_again(command, own_runs, task):
    run = own_runs[task]
    first = command("faithfulness", run, *OPTIONS)
    assert first.exit_code == 0, first.output + repr(first.exception)
    for word in ("readout", "rollout", "random", "comprehensiveness", "insertion AUC"):
        assert word in first.stdout
    assert f"Saved {run / 'faithfulness.json'}" in first.stdout
    assert (run / "faithfulness.png").read_bytes().startswith(b"\x89PNG")
    with (run / "faithfulness.csv").open(newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} >= {"readout", "rollout", "random"}
    written = (run / "faithfulness.json").stat().st_mtime_ns
    shown = json.loads((run / "faithfulness.json").read_text())
    for options in ((), OPTIONS, ("--num-samples", "8"), ("--methods", "rollout")):
        again = command("faithfulness", run, *options)
        assert "--again measures anew" in again.stdout
        table = first.stdout.split("Saved")[0]
        assert again.stdout.startswith(table)
    assert shown["verdict"] in first.stdout
    described = json.loads(command("faithfulness", run, "--json").stdout)
    assert described["verdict"] == shown["verdict"]
    assert (run / "faithfulness.json").stat().st_mtime_ns == written


def test_other_options_measure_anew(command, own_runs):
    run = own_runs["vision"]
    for options, name, value in (
        (("--num-samples", "6"), "sample_ids", 6),
        (("--num-samples", "6", "--steps", "3"), "steps", 3),
        (("--num-samples", "6", "--seed", "5"), "seed", 5),
        (("--num-samples", "6", "--removal", "mean"), "removal", "mean"),
    ):
        done = command("faithfulness", run, "--methods", "readout,random", *options, "--json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)[name]
        assert (len(found) if name == "sample_ids" else found) == value
    before = (run / "faithfulness.json").stat().st_mtime_ns
    done = command("faithfulness", run, "--num-samples", "6", "--methods", "random", "--again")
    assert "Saved" in done.stdout
    assert (run / "faithfulness.json").stat().st_mtime_ns > before


def test_removal_of_another_modality(command, own_runs):
    done = command("faithfulness", own_runs["vision"], "--removal", "silence")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "silence" in done.stderr


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_fits_the_terminal(command, own_runs, columns, monkeypatch):
    monkeypatch.chdir(own_runs["nlp"].parent)
    command("faithfulness", "nlp", *OPTIONS)
    lines = command("faithfulness", "nlp", columns=columns).stdout.splitlines()
    assert max(map(len, lines[:-1])) <= columns
    assert any("comprehensiveness" in line for line in lines)
