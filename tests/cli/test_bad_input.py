"""Bad input ends in one sentence, with exit code 2 and nothing on stdout."""

import json
import shutil

import pytest

from attention_atlas.atlas import AtlasWriter
from tests import made_atlases

MADE = "outputs/nlp/one"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "outputs/nlp/on"], "There is no run 'outputs/nlp/on': the closest is"),
        (["info", "elsewhere"], "There is no run 'elsewhere': `atlas list` shows all."),
        (["info", "outputs"], "'outputs' holds no atlas.zarr (`atlas list` shows"),
        (["info", "memory://nothing/here"], "There is no run 'memory://nothing/here'"),
        (["info", "nosuch://nothing"], "Protocol not known: nosuch"),
        (["list", "elsewhere"], "There is no folder 'elsewhere'"),
        (["show", MADE, "nlp-04"], "the closest is 'nlp-0004'"),
        (["show", MADE, "6"], "There is no sample 6: the run has 6"),
        (["show", MADE, "--layer", "2"], "There is no layer 2"),
        (["show", MADE, "--head", "4"], "There is no head 4"),
        (["show", MADE, "--epoch", "3"], "has no epoch 3"),
        (["show", MADE, "5", "--layer", "0"], "has only its readout row stored"),
        (["show", MADE, "--save", "a.xyz"], "'a.xyz' has the wrong ending: end it in .png, .pdf"),
        (["show", MADE, "--method", "rollout"], "has no checkpoint"),
        (
            ["show", MADE, "--method", "rollout", "--layer", "1"],
            "--method cannot be combined with --layer",
        ),
        (["gallery", MADE, "--save", "a.png", "--sample", "0", "--sample", "1"], "once"),
        (["stats", MADE, "--importance"], "has no checkpoint"),
        (["stats", MADE, "--csv", "a.txt"], "'a.txt' has the wrong ending: end it in .csv."),
        (["stats", MADE, "--save", "outputs"], "has the wrong ending"),
        (["stats", MADE, "--epoch", "1"], "has no epoch 1: it has 0"),
        (["faithfulness", MADE], "has no checkpoint"),
        (["faithfulness", "file:///tmp/run"], "is a URL"),
        (["compare", MADE], "give two or more"),
        (["compare", MADE, "outputs/nlp/tow"], "There is no run 'outputs/nlp/tow'"),
        (["compare", MADE, "outputs/vision/one", "--save", "a.txt"], "end it in .png"),
    ],
)
def test_one_line_error(refused, arguments, message):
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shw"], "No such command 'shw'"),
        (["show"], "Missing argument"),
        (["show", MADE, "--layer", "first"], "Invalid value for '--layer'"),
        (["export", MADE], "Missing option '--out'"),
        (["stats", MADE, "--by", "query"], "'query'"),
        (["faithfulness", MADE, "--steps", "0"], "Invalid value for '--steps'"),
    ],
)
def test_usage(command, arguments, message):
    done = command(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["info", "show", "stats", "export"])
def test_atlas_that_cannot_be_read(refused, tmp_path, name):
    rest = ["--out", tmp_path / "a.csv"] if name == "export" else []
    newer = made_atlases.write(tmp_path / "newer", "nlp")
    metadata = newer / "atlas.zarr" / "zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["schema_version"] = 99
    metadata.write_text(json.dumps(content))
    assert "schema version 99" in refused(name, newer, *rest)
    assert "update attention-atlas" in refused(name, newer, *rest)

    empty = tmp_path / "empty"
    AtlasWriter(empty / "atlas.zarr", made_atlases.attributes("nlp"), max_tokens=64).close()
    assert "is empty" in refused(name, empty, *rest)

    off = tmp_path / "off"
    (off / "checkpoints").mkdir(parents=True)
    assert "capture=off" in refused(name, off, *rest)

    lost = made_atlases.write(tmp_path / "lost", "nlp")
    shutil.rmtree(lost / "atlas.zarr" / "rank-0" / "readout")
    if name != "info":
        assert "is damaged" in refused(name, lost, *rest)
    assert not (tmp_path / "a.csv").exists()


def test_method_that_is_none_or_does_not_apply(command, trained_runs):
    said = command("show", trained_runs["vision"], "--method", "rolout")
    assert said.exit_code == 2
    assert "There is no attribution 'rolout'" in said.stderr
    said = command("faithfulness", trained_runs["vision"], "--methods", "readout,nothing")
    assert said.exit_code == 2
    assert "There is no attribution 'nothing'" in said.stderr


def test_figure_at_a_path_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused("show", MADE, "--save", tmp_path / "file" / "a.png")
    assert "cannot be written" in said
    assert "is not a folder" in said


@pytest.mark.parametrize("has_checkpoint", [True, False])
@pytest.mark.parametrize("name", ["info", "show", "stats", "export"])
def test_an_unfinished_run_says_how_to_resume_it(refused, tmp_path, name, has_checkpoint):
    run = tmp_path / "run"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").write_text("resume: null\n")
    if has_checkpoint:
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "best.ckpt").touch()
    said = refused(name, run, *(["--out", tmp_path / "a.csv"] if name == "export" else []))
    assert "is unfinished, without an atlas: the same command with resume=auto resumes it" in said
    assert (f"`atlas evaluate run={run}` tests its checkpoint" in said) == has_checkpoint
    for arguments in (["info", run, "--classes"], ["compare", run, MADE]):
        assert "is unfinished, without result.json: the same command" in refused(*arguments)
    said = refused("faithfulness", run)
    assert ("no checkpoints/best.ckpt" in said) != has_checkpoint


@pytest.mark.parametrize("name", ["info", "show", "stats", "faithfulness"])
def test_a_file_is_not_a_run(refused, tmp_path, name):
    (tmp_path / "reviews.csv").touch()
    assert "reviews.csv' is a file: give a run folder" in refused(name, tmp_path / "reviews.csv")
