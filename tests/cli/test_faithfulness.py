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
    table = first.stdout.split("Saved")[0]
    assert command("faithfulness", run, *OPTIONS).stdout.startswith(table)
    for options in ((), ("--num-samples", "8")):
        again = command("faithfulness", run, *options).stdout
        assert "--again measures it again" in again
        assert "leave_one_out" in again
    few = command("faithfulness", run, "--methods", "rollout").stdout.split("\n\n")[0]
    assert [line.split()[0] for line in few.splitlines() if line.strip()][1:] == [
        "rollout",
        "random",
    ]
    assert shown["verdict"] in first.stdout
    described = json.loads(command("faithfulness", run, "--json").stdout)
    assert described["verdict"] == shown["verdict"]
    assert (run / "faithfulness.json").stat().st_mtime_ns == written


def test_runs_that_are_not_trainings_of_one_recipe_are_refused(command, own_runs):
    refused = command("faithfulness", own_runs["nlp"], own_runs["vision"])
    assert refused.exit_code == 2
    assert "not trainings of one recipe: nlp on csv" in refused.stderr
    assert "atlas compare" in refused.stderr


def test_a_training_counts_once(command, own_runs, tmp_path):
    twin = shutil.copytree(own_runs["nlp"], tmp_path / "twin", symlinks=True)
    refused = command("faithfulness", own_runs["nlp"], twin)
    assert refused.exit_code == 2
    assert "has the seed 0 of another run" in refused.stderr


@pytest.mark.slow
def test_other_options_do_not_replace_what_took_long(command, own_runs):
    run = own_runs["vision"]
    command("faithfulness", run, *OPTIONS, "--again")
    kept = (run / "faithfulness.json").read_bytes()
    for options, name, value in (
        (("--num-samples", "6"), "sample_ids", 6),
        (("--num-samples", "6", "--steps", "3"), "steps", 3),
        (("--num-samples", "6", "--seed", "5"), "seed", 5),
        (("--num-samples", "6", "--removal", "mean"), "removal", "mean"),
        (("--num-samples", "6", "--methods", "raw"), "titles", "raw"),
    ):
        refused = command("faithfulness", run, *options)
        assert refused.exit_code == 2
        assert "--again" in refused.stderr
        assert options[-1] in refused.stderr
        assert (run / "faithfulness.json").read_bytes() == kept
        done = command("faithfulness", run, "--methods", "random", *options, "--again", "--json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)[name]
        if name == "titles":
            assert value in found
        else:
            assert (len(found) if name == "sample_ids" else found) == value
        (run / "faithfulness.json").write_bytes(kept)


def test_a_method_that_does_not_apply_leaves_nothing(command, trained_runs):
    done = command("faithfulness", trained_runs["vision"], "--methods", "raw:9.9")
    assert done.exit_code == 2
    assert "No method applies" in done.stderr
    assert not (trained_runs["vision"] / "faithfulness.json").exists()


def test_removal_of_another_modality(command, own_runs):
    done = command("faithfulness", own_runs["vision"], "--removal", "silence", "--again")
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
